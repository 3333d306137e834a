package blueprint

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

func joined(problems []string) string { return strings.Join(problems, "\n") }

var (
	topKeys     = []string{"name", "description", "version", "packages", "modules", "groups", "repos", "customizations", "distro", "arch", "containers"}
	packageKeys = []string{"name", "version"}
	groupKeys   = []string{"name"}
	repoKeys    = []string{"rpmname", "rpmversion", "rpmrelease", "summary", "repo", "ref", "destination"}
)

// check returns everything that is wrong with a blueprint, in the words that
// clients know (contract section 4).
func check(table map[string]any) []string {
	problems := checkCase(table, topKeys, "")
	for _, key := range []string{"name", "description"} {
		if _, ok := table[key]; !ok {
			problems = append(problems, fmt.Sprintf("Missing '%s'", key))
		}
	}
	if v, ok := table["version"]; ok {
		if s, isText := v.(string); !isText || !isVersion(s) {
			problems = append(problems, "Invalid 'version', must use Semantic Versioning")
		}
	}
	for _, key := range []string{"name", "description", "distro", "arch"} {
		if v, ok := table[key]; ok {
			if _, isText := v.(string); !isText {
				problems = append(problems, fmt.Sprintf("'%s' must be a string", key))
			}
		}
	}
	problems = append(problems, checkList(table, "modules", "modules", packageKeys)...)
	problems = append(problems, checkList(table, "packages", "packages", packageKeys)...)
	problems = append(problems, checkList(table, "groups", "groups", groupKeys)...)
	if v, ok := table["containers"]; ok {
		if _, isList := v.([]any); !isList {
			problems = append(problems, "'containers' must be a list")
		}
	}
	if v, ok := table["repos"]; ok {
		if repos, isTable := v.(map[string]any); !isTable {
			problems = append(problems, "'repos' must be a table")
		} else {
			problems = append(problems, checkList(repos, "git", "repos.git", repoKeys)...)
		}
	}
	if v, ok := table["customizations"]; ok {
		if c, isTable := v.(map[string]any); !isTable {
			problems = append(problems, "'customizations' must be a table")
		} else {
			problems = append(problems, checkCustomizations(c)...)
		}
	}
	return problems
}

// checkCase finds keys that are known but for the case of their letters.
func checkCase(table map[string]any, known []string, prefix string) []string {
	var problems []string
	for _, key := range slices.Sorted(maps.Keys(table)) {
		if lower := strings.ToLower(key); lower != key && slices.Contains(known, lower) {
			problems = append(problems, fmt.Sprintf("%s%s should be %s", prefix, key, lower))
		}
	}
	return problems
}

// checkList checks that the entries of a list have all the keys, and strings
// there.
func checkList(table map[string]any, key, title string, required []string) []string {
	v, ok := table[key]
	if !ok {
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		return []string{fmt.Sprintf("'%s' must be a list of tables", title)}
	}
	var problems []string
	for i, entry := range list {
		n := i + 1
		fields, ok := entry.(map[string]any)
		if !ok {
			problems = append(problems, fmt.Sprintf("%d is not a table", n))
			continue
		}
		problems = append(problems, checkCase(fields, required, fmt.Sprintf("%d ", n))...)
		var missing []string
		for _, field := range required {
			if v, ok := fields[field]; !ok {
				missing = append(missing, "'"+field+"'")
			} else if _, isText := v.(string); !isText {
				problems = append(problems, fmt.Sprintf("%d %s must be a string", n, field))
			}
		}
		if len(missing) > 0 {
			problems = append(problems, fmt.Sprintf("%d is missing %s", n, strings.Join(missing, ", ")))
		}
	}
	if len(problems) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("'%s' errors:\n%s", title, joined(problems))}
}

func checkCustomizations(c map[string]any) []string {
	var problems []string
	// section checks a table; empty is what is said of one without any key.
	section := func(parent map[string]any, key, title string, known []string, empty string) map[string]any {
		v, ok := parent[key]
		if !ok {
			return nil
		}
		table, ok := v.(map[string]any)
		if !ok {
			problems = append(problems, fmt.Sprintf("'customizations.%s' must be a table", title))
			return nil
		}
		problems = append(problems, checkCase(table, known, title+" ")...)
		if len(table) == 0 && empty != "" {
			problems = append(problems, fmt.Sprintf("'customizations.%s': %s", title, empty))
		}
		return table
	}
	list := func(key string, required ...string) {
		problems = append(problems, checkList(c, key, "customizations."+key, required)...)
	}
	if kernel := section(c, "kernel", "kernel", []string{"append"}, ""); kernel != nil {
		if _, ok := kernel["append"]; !ok {
			problems = append(problems, "'customizations.kernel': missing append field.")
		}
	}
	list("sshkey", "user", "key")
	list("user", "name")
	list("group", "name")
	section(c, "timezone", "timezone", []string{"timezone", "ntpservers"}, "missing timezone or ntpservers fields.")
	section(c, "locale", "locale", []string{"languages", "keyboard"}, "missing languages or keyboard fields.")
	states := []string{"enabled", "disabled"}
	firewall := section(c, "firewall", "firewall", []string{"ports", "services"}, "missing ports field or services section.")
	section(firewall, "services", "firewall.services", states, "missing enabled or disabled fields.")
	section(c, "services", "services", states, "missing enabled or disabled fields.")
	return problems
}
