package catalogtest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
)

var words = strings.Fields(`account agent alert archive audit balance batch binding bucket cache
certificate channel checkpoint cluster collector column commit compaction connector consumer
container contract controller cursor dashboard database dataset deadline delivery deployment device
digest domain election encryption endpoint envelope event exporter failover federation filter
firewall gateway grant handler health history identity index ingress interval inventory journal
keyspace label latency ledger lease lifecycle listener locality manifest mapping message metric
migration mirror module monitor namespace network node notification object operand partition
password payload pipeline placement policy pool probe producer profile proxy quorum quota rebalance
receiver record recovery region registry replica report request resource restore retention role
rollout route schedule schema secret segment selector session shard signal snapshot source stage
storage stream subject subnet summary tenant threshold timeout token topic trace tracker transfer
trigger tunnel upgrade user validator vault version view volume watcher window worker workload zone`)

// prose makes text of about n characters that compresses like text.
func prose(r *rand.Rand, n int) string {
	var b strings.Builder
	for b.Len() < n {
		if r.IntN(8) == 0 {
			fmt.Fprintf(&b, "\n\n## The %s %s\n\n", words[r.IntN(len(words))], words[r.IntN(len(words))])
		}
		for i := range 5 + r.IntN(12) {
			w := words[r.IntN(len(words))]
			if i == 0 {
				w = strings.ToUpper(w[:1]) + w[1:]
			} else {
				b.WriteByte(' ')
			}
			b.WriteString(w)
		}
		b.WriteString(". ")
	}
	return b.String()
}

// crd is a custom resource definition of an operator.
type crd struct {
	kind, plural, group string
	seed                uint64
}

func (b Bundle) crds() []crd {
	if !b.Rich {
		return []crd{{kind: "Thing", plural: "things", group: b.Package + ".example.com"}}
	}
	r := b.random(false)
	var all []crd
	for i := range 1 + r.IntN(5) {
		kind := words[r.IntN(len(words))] + string(rune('a'+i))
		all = append(all, crd{kind: strings.ToUpper(kind[:1]) + kind[1:], plural: kind + "s", group: b.Package + ".example.com", seed: r.Uint64()})
	}
	return all
}

func (c crd) manifest(b Bundle) fields {
	spec := fields{
		"group": c.group, "scope": "Namespaced",
		"names": fields{"kind": c.kind, "listKind": c.kind + "List", "plural": c.plural, "singular": strings.TrimSuffix(c.plural, "s")},
	}
	schema := fields{"type": "object", "description": c.kind + " of version " + b.Version}
	if b.Rich {
		r := rand.New(rand.NewPCG(c.seed, 1))
		schema["properties"] = fields{"spec": schemaOf(r, 2, 6000+r.IntN(16000)), "status": fields{"type": "object"}}
	}
	version := fields{"name": "v1", "served": true, "storage": true}
	if b.BetaCRD {
		spec["version"] = "v1"
		spec["versions"] = []any{version}
		spec["validation"] = fields{"openAPIV3Schema": schema}
	} else {
		version["schema"] = fields{"openAPIV3Schema": schema}
		spec["versions"] = []any{version}
	}
	apiVersion := "apiextensions.k8s.io/v1"
	if b.BetaCRD {
		apiVersion = "apiextensions.k8s.io/v1beta1"
	}
	return fields{"apiVersion": apiVersion, "kind": "CustomResourceDefinition", "metadata": fields{"name": c.plural + "." + c.group}, "spec": spec}
}

func schemaOf(r *rand.Rand, depth, size int) fields {
	properties := fields{}
	for used := 0; used < size; {
		name := words[r.IntN(len(words))] + strings.ToUpper(words[r.IntN(len(words))][:1])
		doc := prose(r, 60+r.IntN(240))
		used += len(doc) + 60
		switch r.IntN(5) {
		case 0:
			if depth > 0 {
				properties[name] = schemaOf(r, depth-1, size/4)
				used += size / 4
			}
		case 1:
			properties[name] = fields{"type": "array", "description": doc, "items": fields{"type": "string"}}
		case 2:
			properties[name] = fields{"type": "integer", "format": "int32", "minimum": r.IntN(5), "description": doc}
		default:
			properties[name] = fields{"type": "string", "description": doc}
		}
	}
	return fields{"type": "object", "description": prose(r, 80), "properties": properties}
}

// description is the CSV's entry for the custom resource definition.
func (c crd) description(b Bundle) fields {
	d := fields{"kind": c.kind, "name": c.plural + "." + c.group, "version": "v1", "displayName": c.kind}
	if b.Rich {
		r := rand.New(rand.NewPCG(c.seed, 2))
		var descriptors []any
		for range 4 {
			descriptors = append(descriptors, fields{
				"displayName": prose(r, 20), "path": words[r.IntN(len(words))], "description": prose(r, 90),
				"x-descriptors": []any{"urn:alm:descriptor:com.tectonic.ui:text"},
			})
		}
		d["description"] = prose(r, 120)
		d["specDescriptors"] = descriptors
		d["statusDescriptors"] = descriptors[:2]
	}
	return d
}

// enrich adds what makes real bundles large.
func (b Bundle) enrich(spec, annotations fields, image string) {
	same, varied := b.random(false), b.random(true)
	var examples []any
	for _, c := range b.crds() {
		examples = append(examples, fields{
			"apiVersion": c.group + "/v1", "kind": c.kind, "metadata": fields{"name": "example"},
			"spec": fields{"replicas": 3, "note": prose(same, 200), "storage": fields{"size": "10Gi"}},
		})
	}
	text, err := json.MarshalIndent(examples, "", "  ")
	if err != nil {
		panic(err) // maps, lists and text
	}
	annotations["alm-examples"] = string(text)
	annotations["categories"] = "Database, Monitoring"
	annotations["containerImage"] = image
	annotations["createdAt"] = "2025-01-02T03:04:05Z"
	annotations["description"] = prose(varied, 140)

	var related []any
	for i := range 3 + varied.IntN(6) {
		name := fmt.Sprintf("component-%d", i)
		related = append(related, fields{"name": name, "image": b.operand(name)})
	}
	var rules []any
	for range 10 + same.IntN(20) {
		rules = append(rules, fields{
			"apiGroups": []any{words[same.IntN(len(words))] + ".example.com"}, "resources": []any{words[same.IntN(len(words))] + "s"},
			"verbs": []any{"create", "delete", "get", "list", "patch", "update", "watch"},
		})
	}
	install, _ := spec["install"].(fields)
	strategy, _ := install["spec"].(fields)
	strategy["clusterPermissions"] = []any{fields{"serviceAccountName": b.Package, "rules": rules}}

	spec["relatedImages"] = related
	spec["description"] = prose(same, 2000+same.IntN(4000))
	spec["maturity"] = "stable"
	spec["minKubeVersion"] = "1.25.0"
	spec["provider"] = fields{"name": "Example"}
	spec["maintainers"] = []any{fields{"name": "Team", "email": "team@example.com"}}
	spec["keywords"] = []any{words[same.IntN(len(words))], words[same.IntN(len(words))]}
	spec["links"] = []any{fields{"name": "Documentation", "url": "https://docs.example.com/" + b.Package}}
	spec["installModes"] = []any{
		fields{"type": "OwnNamespace", "supported": true}, fields{"type": "SingleNamespace", "supported": true},
		fields{"type": "MultiNamespace", "supported": false}, fields{"type": "AllNamespaces", "supported": true},
	}
}
