package wire

import (
	"github.com/iib-engine/iib/sdk"
	"github.com/iib-engine/iib/sdk/internal/pb"
)

func encodeImages(images []sdk.Image) []*pb.Image {
	var encoded []*pb.Image
	for _, i := range images {
		encoded = append(encoded, &pb.Image{Spec: i.Spec, Resolved: i.Resolved, Labels: i.Labels})
	}
	return encoded
}

func decodeImages(images []*pb.Image) []sdk.Image {
	var decoded []sdk.Image
	for _, i := range images {
		decoded = append(decoded, sdk.Image{Spec: i.GetSpec(), Resolved: i.GetResolved(), Labels: i.GetLabels()})
	}
	return decoded
}

func encodeAccess(a *sdk.Access) *pb.Access {
	return &pb.Access{
		Username:       a.Username,
		Password:       a.Password.Reveal(),
		PlainHttp:      a.PlainHTTP,
		CaFile:         a.CAFile,
		DeniedNetworks: a.DeniedNetworks,
	}
}

func decodeAccess(a *pb.Access) sdk.Access {
	return sdk.Access{
		Username:       a.GetUsername(),
		Password:       sdk.Secret(a.GetPassword()),
		PlainHTTP:      a.GetPlainHttp(),
		CAFile:         a.GetCaFile(),
		DeniedNetworks: a.GetDeniedNetworks(),
	}
}

func encodeImageSpec(s *sdk.ImageSpec) *pb.ImageSpec {
	encoded := &pb.ImageSpec{
		Base:   s.Base,
		Arches: s.Arches,
		Config: &pb.ImageConfig{
			Labels:       s.Config.Labels,
			Entrypoint:   s.Config.Entrypoint,
			Cmd:          s.Config.Cmd,
			ExposedPorts: s.Config.ExposedPorts,
			Created:      encodeTime(s.Config.Created),
		},
		Oci:        s.OCI,
		Repository: s.Repository,
	}
	for _, l := range s.Layers {
		encoded.Layers = append(encoded.Layers, &pb.Layer{
			Path: l.Path, Digest: l.Digest, DiffId: l.DiffID, Size: l.Size, CreatedBy: l.CreatedBy,
		})
	}
	return encoded
}

func decodeImageSpec(s *pb.ImageSpec) sdk.ImageSpec {
	config := s.GetConfig()
	decoded := sdk.ImageSpec{
		Base:   s.GetBase(),
		Arches: s.GetArches(),
		Config: sdk.ImageConfig{
			Labels:       config.GetLabels(),
			Entrypoint:   config.GetEntrypoint(),
			Cmd:          config.GetCmd(),
			ExposedPorts: config.GetExposedPorts(),
			Created:      decodeTime(config.GetCreated()),
		},
		OCI:        s.GetOci(),
		Repository: s.GetRepository(),
	}
	for _, l := range s.GetLayers() {
		decoded.Layers = append(decoded.Layers, sdk.Layer{
			Path: l.GetPath(), Digest: l.GetDigest(), DiffID: l.GetDiffId(),
			Size: l.GetSize(), CreatedBy: l.GetCreatedBy(),
		})
	}
	return decoded
}
