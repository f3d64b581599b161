"""The image around the layers: the base that it sits on, its configuration, manifests, labels and SBOM."""
