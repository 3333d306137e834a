package host

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/iib-engine/iib/sdk/internal/pb"
	"github.com/iib-engine/iib/sdk/serve"
)

// The test's own program is the plugin of its tests: started with the

// handshake's environment it serves, well or badly, as the variable

// TEST_PLUGIN says. Started with TEST_ENGINE it is an engine that launches one.

func TestMain(m *testing.M) {
	switch {
	case os.Getenv("IIB_PLUGIN") != "":
		playPlugin(os.Getenv("TEST_PLUGIN"))
	case os.Getenv("TEST_ENGINE") != "":
		playEngine()
	default:
		os.Exit(m.Run())
	}
}

func playPlugin(role string) {
	socket := filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "s")
	switch role {
	case "":
		serve.Plugin(testPlugin())
	case "exit":
		fmt.Fprintln(os.Stderr, "cannot open the database")
		os.Exit(3)
	case "hang":
		fmt.Println("one moment please")
		forever()
	case "garbage":
		for range 3000 {
			fmt.Print(strings.Repeat("\x00garbage|", 1000))
		}
		os.Exit(0)
	case "noise":
		fmt.Println("welcome to my plugin")
		fmt.Println(strings.Repeat("=", 100_000))
		serve.Plugin(testPlugin())
	case "old":
		fmt.Println("1|99|unix|" + socket + "|grpc|" + strings.Repeat("c", 100))
		forever()
	case "go-plugin 9":
		fmt.Println("9|1|unix|" + socket + "|grpc|" + strings.Repeat("c", 100))
		forever()
	case "netrpc":
		fmt.Println("1|1|unix|" + socket + "|netrpc|" + strings.Repeat("c", 100))
		forever()
	case "tcp":
		fmt.Println("1|1|tcp|127.0.0.1:1|grpc|" + strings.Repeat("c", 100))
		forever()
	case "elsewhere":
		fmt.Println("1|1|unix|/run/docker.sock|grpc|" + strings.Repeat("c", 100))
		forever()
	case "above":
		fmt.Println("1|1|unix|" + filepath.Dir(socket) + "/../s|grpc|" + strings.Repeat("c", 100))
		forever()
	case "no socket":
		fmt.Println("1|1|unix|" + socket + "|grpc|" + strings.Repeat("c", 100))
		forever()
	case "a file":
		_ = os.WriteFile(socket, nil, 0o600)
		fmt.Println("1|1|unix|" + socket + "|grpc|" + strings.Repeat("c", 100))
		forever()
	case "mute":
		listen(socket)
		fmt.Println("1|1|unix|" + socket + "|grpc|" + strings.Repeat("c", 100))
		forever()
	case "no TLS":
		os.Unsetenv("PLUGIN_CLIENT_CERT")
		serve.Plugin(testPlugin())
	case "foreign":
		serveForeign(listen(socket), socket)
	default:
		fmt.Fprintln(os.Stderr, "no such role:", role)
		os.Exit(1)
	}
}

func forever() {
	for {
		time.Sleep(time.Hour)
	}
}

func listen(socket string) net.Listener {
	l, err := net.Listen("unix", socket)
	if err != nil {
		panic(err)
	}
	return l
}

// serveForeign is a gate as another language would have it: the published

// protocol and the health service, and nothing of go-plugin's own.

func serveForeign(l net.Listener, socket string) {
	g := grpc.NewServer()
	pb.RegisterPluginServer(g, foreign{})
	pb.RegisterGateServer(g, foreignGate{})
	h := health.NewServer()
	h.SetServingStatus("plugin", grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(g, h)
	fmt.Println("1|1|unix|" + socket + "|grpc")
	fmt.Println("printed by a plugin of another language")
	_ = g.Serve(l)
}

type foreign struct{ pb.UnimplementedPluginServer }

func (foreign) Describe(context.Context, *pb.DescribeRequest) (*pb.DescribeResponse, error) {
	return &pb.DescribeResponse{Name: "foreign", Gate: true, Service: true}, nil
}

func (foreign) Configure(context.Context, *pb.ConfigureRequest) (*pb.ConfigureResponse, error) {
	return &pb.ConfigureResponse{}, nil
}

func (foreign) Start(context.Context, *pb.StartRequest) (*pb.StartResponse, error) {
	return &pb.StartResponse{}, nil
}

type foreignGate struct{ pb.UnimplementedGateServer }

func (foreignGate) Check(context.Context, *pb.CheckRequest) (*pb.CheckResponse, error) {
	return &pb.CheckResponse{Allowed: true, Reason: "from afar"}, nil
}

// settings are those of the test's plugin.

// testGate does what the request's type says and answers in its reason.

// facts are what a plugin knows of its process.

// playEngine launches a plugin, tells its number and waits to be killed.

func playEngine() {
	// The thread that launches ends before the plugin should: the kernel must
	// not take that for the end of the engine.
	done := make(chan *Plugin)
	go func() {
		runtime.LockOSThread()
		p, err := Launch(context.Background(), Command{Path: os.Args[0], SocketDir: os.Getenv("TEST_ENGINE")})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		done <- p // the goroutine ends, and its locked thread with it
	}()
	p := <-done
	for range 50 {
		runtime.Gosched()
		if err := p.Ping(context.Background()); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	fmt.Println(p.PID())
	forever()
}

// command returns one that starts this program in a role.

// socketDir returns a directory with a short name, which must be empty at the

// end of the test.

// launched returns a plugin that is started.

// ask has the test's gate do something.

// logged is a log that tests can wait on.

// wait returns the first record with a message.

// state returns the letter that the kernel has for a process; "" for none.

// gone waits for the end of a process that need not be a child. A zombie has

// ended; its new parent has not noticed yet.
