package catalog

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/operator-framework/operator-registry/alpha/property"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// OpenShift 4.9 is the first on Kubernetes 1.22, which removed the beta
// versions of many APIs. A bundle that uses one of them must keep its cluster
// on 4.8, by a property that the cluster's upgrade looks at.
const (
	typeMaxOpenShift = "olm.maxOpenShiftVersion"
	lastOpenShift    = "4.8"
)

// removedAPIs are the kinds that Kubernetes 1.22 knows no longer in these
// versions.
// https://kubernetes.io/docs/reference/using-api/deprecation-guide/#v1-22
var removedAPIs = map[string][]string{
	"admissionregistration.k8s.io/v1beta1": {"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"},
	"apiextensions.k8s.io/v1beta1":         {"CustomResourceDefinition"},
	"apiregistration.k8s.io/v1beta1":       {"APIService"},
	"authentication.k8s.io/v1beta1":        {"TokenReview"},
	"authorization.k8s.io/v1beta1":         {"LocalSubjectAccessReview", "SelfSubjectAccessReview", "SubjectAccessReview"},
	"certificates.k8s.io/v1beta1":          {"CertificateSigningRequest"},
	"coordination.k8s.io/v1beta1":          {"Lease"},
	"extensions/v1beta1":                   {"Ingress"},
	"networking.k8s.io/v1beta1":            {"Ingress", "IngressClass"},
	"rbac.authorization.k8s.io/v1beta1":    {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"},
	"scheduling.k8s.io/v1beta1":            {"PriorityClass"},
	"storage.k8s.io/v1beta1":               {"CSIDriver", "CSINode", "StorageClass", "VolumeAttachment"},
}

// RemovedAPIs lists the bundle's objects that Kubernetes 1.22 would refuse, as
// "Kind name", sorted.
func (b *Bundle) RemovedAPIs() []string { return slices.Clone(b.removed) }

func findRemovedAPIs(objects []*unstructured.Unstructured) []string {
	var found []string
	for _, obj := range objects {
		if slices.Contains(removedAPIs[obj.GetAPIVersion()], obj.GetKind()) {
			found = append(found, obj.GetKind()+" "+obj.GetName())
		}
	}
	slices.Sort(found)
	return found
}

// needsCap reports whether the bundle must be kept from OpenShift 4.9 and does
// not say so itself. One that says anything is left alone: two properties of
// the type would block every upgrade.
func (b *Bundle) needsCap() bool {
	return len(b.removed) > 0 &&
		!slices.ContainsFunc(b.rows.props, func(p typedValue) bool { return p.Type == typeMaxOpenShift })
}

// CapOpenShift gives those of the bundles that use APIs which OpenShift 4.9
// does not have, and do not say so themselves, the property
// olm.maxOpenShiftVersion 4.8. It returns the new package and the names of the
// bundles changed. Bundles that are not in the package are passed over.
func CapOpenShift(p *Package, bundles []*Bundle) (*Package, []string, error) {
	out := &Package{Name: p.Name, Blobs: slices.Clone(p.Blobs)}
	var capped []string
	for _, b := range bundles {
		i := out.find(schemaBundle, b.Name)
		if i < 0 || !b.needsCap() {
			continue
		}
		doc, changed, err := capBlob(out.Blobs[i].JSON, b.Image)
		if err != nil {
			return nil, nil, describe(err, "bundle %s", b.Name)
		}
		if changed {
			out.Blobs[i].JSON = doc
			capped = append(capped, b.Name)
		}
	}
	return out, capped, nil
}

func capBlob(doc json.RawMessage, image string) (json.RawMessage, bool, error) {
	o, err := parseObject(doc)
	if err != nil {
		return nil, false, err
	}
	var spec string
	var raw []json.RawMessage
	if err := json.Unmarshal(o.values["image"], &spec); err != nil {
		return nil, false, err
	}
	if err := json.Unmarshal(o.values["properties"], &raw); err != nil {
		return nil, false, err
	}
	at := len(raw)
	for i := len(raw) - 1; i >= 0; i-- {
		var p property.Property
		if err := json.Unmarshal(raw[i], &p); err != nil {
			return nil, false, err
		}
		if p.Type == typeMaxOpenShift {
			return doc, false, nil
		}
		// Properties are sorted by type, but for the metadata at the end.
		if p.Type > typeMaxOpenShift || p.Type == property.TypeCSVMetadata || p.Type == property.TypeBundleObject {
			at = i
		}
	}
	if spec != image {
		return doc, false, nil
	}
	added, err := encode(property.Property{Type: typeMaxOpenShift, Value: json.RawMessage(lastOpenShift)})
	if err != nil {
		return nil, false, err
	}
	if err := o.set("properties", slices.Insert(raw, at, added)); err != nil {
		return nil, false, err
	}
	doc, err = o.encode()
	return doc, true, err
}

// CapOpenShift does the same in the database, to the published bundles with
// the pull specs of those given, and returns the names of the bundles changed.
func (d *Database) CapOpenShift(ctx context.Context, bundles []*Bundle) ([]string, error) {
	var capped []string
	err := d.edit(ctx, "limit the OpenShift version", func(t *dbtx) error {
		have, err := textSet(ctx, t, `SELECT DISTINCT operatorbundle_name FROM properties WHERE type = ?`, typeMaxOpenShift)
		if err != nil {
			return err
		}
		for _, b := range bundles {
			if !b.needsCap() || have[b.Name] {
				continue
			}
			nodes, err := collect(ctx, t, scanNode, `SELECT rowid, name, bundlepath, version, skiprange, replaces, skips, substitutesfor
				FROM operatorbundle WHERE name = ?`, b.Name)
			if err != nil {
				return err
			}
			if len(nodes) == 0 || nodes[0].image != b.Image {
				continue
			}
			if err := t.insertProperty(nodes[0], typedValue{typeMaxOpenShift, lastOpenShift}); err != nil {
				return err
			}
			capped = append(capped, b.Name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return capped, nil
}
