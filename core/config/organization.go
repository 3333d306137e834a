package config

import "slices"

// OtherOrganizations is the name of the organization that stands for all that
// have no block of their own, and for requests without one.
const OtherOrganizations = "*"

// Organization is how bundles are customized.
type Organization struct {
	Name  string       `json:"name"`
	Steps []*Customize `json:"steps"` // never empty
}

// Customize is one step.
type Customize struct {
	Type string `json:"type"`
	// Plugin is the customizer to take the step from. It is empty if the file
	// does not say; see Assign.
	Plugin string `json:"plugin"`

	// Body is what the step itself is configured with.
	Body `json:"config"`
}

// Organization returns the organization of a name, else that of all others,
// else nil.
func (c *Config) Organization(name string) *Organization {
	var others *Organization
	for _, o := range c.Organizations {
		switch o.Name {
		case name:
			return o
		case OtherOrganizations:
			others = o
		}
	}
	return others
}

func (d *decoder) organizations(root *node) []*Organization {
	var organizations []*Organization
	for _, n := range root.all("organization") {
		o := &Organization{Name: n.labels[0]}
		for _, step := range n.all("customize") {
			o.Steps = append(o.Steps, &Customize{
				Type: step.labels[0], Plugin: step.text("plugin"), Body: d.body(step, step),
			})
		}
		organizations = append(organizations, o)
	}
	return organizations
}

// Offer is what a running plugin says that it has.
type Offer struct {
	// Handlers are request types, Customizers types of steps.
	Handlers    []string
	Customizers []string
}

// Assignment says which plugin does what, after all of them were asked.
type Assignment struct {
	// Handlers are plugin names by request type.
	Handlers map[string]string
	// Steps are plugin names by step.
	Steps map[*Customize]string
}

// Assign finds the plugin for each request type and each step. The offers are
// by name of the enabled plugins; one that did not answer has none, and steps
// that it is named for are left unchecked.
func (c *Config) Assign(offers map[string]Offer) (Assignment, Diagnostics) {
	r := &reporter{source: c.source}
	a := Assignment{
		Handlers: c.assignHandlers(offers, r),
		Steps:    c.assignSteps(offers, r),
	}
	c.checkConcerns(a.Handlers, offers, r)
	return a, r.found.Sorted()
}

func (c *Config) assignHandlers(offers map[string]Offer, r *reporter) map[string]string {
	handlers := make(map[string]string)
	for _, p := range c.PluginsOf("handler") {
		for _, t := range offers[p.Name].Handlers {
			if !p.Concerns(t) {
				continue
			}
			if other := handlers[t]; other != "" {
				r.errorf(p.node.header, "Ambiguous request type",
					"Requests of type %s are handled by the plugins %s and %s. Disable one of them, or list in its setting \"requests\" what it should handle.",
					quote(t), quote(other), quote(p.Name))
				continue
			}
			handlers[t] = p.Name
		}
	}
	return handlers
}

// checkConcerns reports request types that nobody handles.
func (c *Config) checkConcerns(handlers map[string]string, offers map[string]Offer, r *reporter) {
	for _, p := range c.PluginsOf("handler") {
		if _, answered := offers[p.Name]; !answered {
			// What it handles is not known, so nothing can be said to be unknown.
			return
		}
	}
	types := make([]string, 0, len(handlers))
	for t := range handlers {
		types = append(types, t)
	}
	slices.Sort(types)
	for _, p := range c.Plugins {
		s := p.node.settings["requests"]
		if !p.Enabled || s == nil {
			continue
		}
		for i, t := range p.Requests {
			if p.Kind == "handler" {
				if offered := offers[p.Name].Handlers; !slices.Contains(offered, t) {
					r.errorf(s.element(i), "Unknown request type",
						"The plugin %s does not handle requests of the type %s.%s",
						quote(p.Name), p.node.shown("requests", t), p.node.hint("requests", t, offered))
				}
				continue
			}
			if handlers[t] == "" {
				r.errorf(s.element(i), "Unknown request type",
					"No enabled plugin handles requests of the type %s.%s",
					p.node.shown("requests", t), p.node.hint("requests", t, types))
			}
		}
	}
}

func (c *Config) assignSteps(offers map[string]Offer, r *reporter) map[*Customize]string {
	offering := make(map[string][]string) // plugins by type of step
	complete := true
	var types []string
	for _, p := range c.PluginsOf("customizer") {
		offer, answered := offers[p.Name]
		complete = complete && answered
		for _, t := range offer.Customizers {
			if offering[t] == nil {
				types = append(types, t)
			}
			offering[t] = append(offering[t], p.Name)
		}
	}
	steps := make(map[*Customize]string)
	for _, o := range c.Organizations {
		for _, step := range o.Steps {
			at := step.owner.labelRanges[0]
			plugins := offering[step.Type]
			switch {
			case step.Plugin != "":
				offer, answered := offers[step.Plugin]
				if answered && !slices.Contains(offer.Customizers, step.Type) {
					r.errorf(at, "Unknown customization", "The plugin %s has no customization %s.%s",
						step.owner.shown("plugin", step.Plugin), quote(step.Type), known(step.Type, offer.Customizers))
					continue
				}
				steps[step] = step.Plugin
			case len(plugins) == 1:
				steps[step] = plugins[0]
			case len(plugins) > 1:
				r.errorf(at, "Ambiguous customization",
					"The customization %s is offered by the plugins %s. Add plugin = %s, or another of them, to the step.",
					quote(step.Type), alternatives(plugins), quote(plugins[0]))
			case complete:
				r.errorf(at, "Unknown customization", "No enabled plugin has a customization %s.%s",
					quote(step.Type), known(step.Type, types))
			}
		}
	}
	return steps
}
