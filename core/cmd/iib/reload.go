package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func newPluginReloadCommand() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "reload",
		Short: "Have the running engine read its configuration again",
		Long: "Have the running engine of a configuration read it again, like SIGHUP.\n\n" +
			"The file is checked first: one with mistakes is shown and changes nothing. Requests that are\n" +
			"running end under the plugins that they began with.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			config, err := loadConfig(path, c.ErrOrStderr())
			if err != nil {
				return err
			}
			dataDir := config.Server.DataDir
			pids, err := runningIn(filepath.Join(dataDir, workSubdir))
			if err != nil {
				return err
			}
			if len(pids) == 0 {
				return fmt.Errorf("no engine runs here with the data directory %s; start one with: iib server --config %s", dataDir, path)
			}
			for _, pid := range pids {
				if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
					return fmt.Errorf("signal process %d: %w", pid, err)
				}
				fmt.Fprintf(c.OutOrStdout(), "process %d reads %s again; its log and iib plugin list tell how it went\n", pid, path)
			}
			return nil
		},
	}
	c.Flags().StringVar(&path, "config", "iib.hcl", "the configuration file")
	return c
}

// runningIn returns the processes that hold a directory of workspaces.
func runningIn(parent string) ([]int, error) {
	locks, err := filepath.Glob(filepath.Join(parent, "*", lockFile))
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, file := range locks {
		if lock, err := takeLock(filepath.Dir(file), 0); err == nil {
			_ = lock.Close() // nobody holds it: what a killed process left
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if pid, err := strconv.Atoi(strings.TrimSpace(string(data))); err == nil && pid > 1 {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
