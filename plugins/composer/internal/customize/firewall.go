package customize

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	firewallConfig = "/etc/firewalld"
	firewallSystem = "/usr/lib/firewalld"
)

var firewallNames = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)

func (a *Applier) firewall(b *Blueprint) error {
	if b.Firewall == nil {
		return nil
	}
	zone, err := a.zone()
	if err != nil {
		return err
	}
	if !a.Root.Exists(firewallSystem) {
		a.Warn("customizations.firewall: firewalld is not in the image: add the package firewalld, or nothing obeys the zone %s", zone)
	}
	file := firewallConfig + "/zones/" + zone + ".xml"
	content, err := a.Root.ReadFile(file)
	if err != nil {
		content, err = a.Root.ReadFile(firewallSystem + "/zones/" + zone + ".xml")
	}
	if err != nil {
		content = []byte("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<zone>\n</zone>\n")
	}
	head, tail, ok := cutLast(string(content), "</zone>")
	if !ok {
		return refuse("firewall", "the zone %s of the image is not a zone: it has no end", zone)
	}
	for _, name := range b.Firewall.Services.Disabled {
		if err := a.service(name); err != nil {
			return err
		}
		head = element("service", "name", name).ReplaceAllString(head, "")
	}
	var added []string
	for _, name := range b.Firewall.Services.Enabled {
		if err := a.service(name); err != nil {
			return err
		}
		if slices.Contains(b.Firewall.Services.Disabled, name) {
			return refuse("firewall", "service %s is both enabled and disabled", name)
		}
		if !element("service", "name", name).MatchString(head) {
			added = append(added, fmt.Sprintf(`  <service name="%s"/>`, name))
		}
	}
	for _, p := range b.Firewall.Ports {
		port, protocol, err := a.port(p)
		if err != nil {
			return err
		}
		added = append(added, fmt.Sprintf(`  <port port="%s" protocol="%s"/>`, port, protocol))
	}
	slices.Sort(added)
	var out strings.Builder
	out.WriteString(strings.TrimRight(head, " \t\n") + "\n")
	for _, line := range slices.Compact(added) {
		if !strings.Contains(head, strings.TrimSpace(line)) {
			out.WriteString(line + "\n")
		}
	}
	out.WriteString("</zone>" + tail)
	return a.write(file, out.String())
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// element matches an empty element with the line that it is alone on.
func element(name, attribute, value string) *regexp.Regexp {
	return regexp.MustCompile(`[ \t]*<` + name + `\s+` + attribute + `="` + regexp.QuoteMeta(value) + `"\s*/>[ \t]*\n?`)
}

// zone is the one that firewalld puts interfaces in.
func (a *Applier) zone() (string, error) {
	zone := "public"
	if content, err := a.Root.ReadFile(firewallConfig + "/firewalld.conf"); err == nil {
		for line := range strings.Lines(string(content)) {
			if value, ok := strings.CutPrefix(strings.TrimSpace(line), "DefaultZone="); ok {
				zone = strings.TrimSpace(value)
			}
		}
	}
	if !firewallNames.MatchString(zone) {
		return "", refuse("firewall", "the image's default zone %q is not a name", zone)
	}
	return zone, nil
}

func (a *Applier) service(name string) error {
	if !firewallNames.MatchString(name) {
		return refuse("firewall", "%q is not the name of a service", name)
	}
	for _, dir := range []string{firewallConfig, firewallSystem} {
		if a.Root.Exists(dir + "/services/" + name + ".xml") {
			return nil
		}
	}
	if a.Root.Exists(firewallSystem + "/services") {
		return refuse("firewall", "firewalld knows no service %s", name)
	}
	return nil
}

// services are those that an image without /etc/services can still name.
var services = map[string]int{
	"ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "domain": 53, "http": 80, "pop3": 110, "sunrpc": 111, "ntp": 123, "imap": 143, "snmp": 161,
	"ldap": 389, "https": 443, "submission": 587, "ldaps": 636, "imaps": 993, "pop3s": 995, "nfs": 2049, "mysql": 3306, "postgresql": 5432,
}

// port reads "port:protocol".
func (a *Applier) port(value string) (port, protocol string, err error) {
	port, protocol, _ = strings.Cut(value, ":")
	if !slices.Contains([]string{"tcp", "udp", "sctp", "dccp"}, protocol) {
		return "", "", refuse("firewall", "port %q is not port:protocol, with tcp, udp, sctp or dccp", value)
	}
	low, high, ranged := strings.Cut(port, "-")
	if n, ok := number(low); ok {
		m, ok := number(high)
		switch {
		case !ranged:
			return strconv.Itoa(n), protocol, nil
		case ok && m >= n:
			return fmt.Sprintf("%d-%d", n, m), protocol, nil
		}
		return "", "", refuse("firewall", "port %q is not a range of ports", value)
	}
	if n, ok := a.lookup(port, protocol); ok {
		return strconv.Itoa(n), protocol, nil
	}
	return "", "", refuse("firewall", "port %q is neither a number from 1 to 65535 nor a service that the image knows", value)
}

func number(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return int(n), err == nil && n > 0
}

// lookup asks the image itself.
func (a *Applier) lookup(name, protocol string) (int, bool) {
	content, err := a.Root.ReadFile("/etc/services")
	if err != nil {
		n, ok := services[name]
		return n, ok
	}
	for line := range strings.Lines(string(content)) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) < 2 || !slices.Contains(append([]string{fields[0]}, fields[2:]...), name) {
			continue
		}
		if port, p, _ := strings.Cut(fields[1], "/"); p == protocol {
			return number(port)
		}
	}
	return 0, false
}
