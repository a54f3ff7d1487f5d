"""A service that shows every kind of launch option, for the tests of options."""

from sardonyx_spawner.catalogue import Service

SERVICE = Service.model_validate(
    {
        "id": "lab",
        "name": "Lab",
        "image": {
            "versions": [
                {"id": "3.12", "image": "registry.example.org/lab:3.12"},
                {"id": "3.13", "image": "registry.example.org/lab:3.13", "default": True},
            ],
            "custom": {"enabled": True, "allow": [r"registry\.example\.org/.+", "plain"]},
        },
        "resources": {
            "cpu": {
                "guaranteed": {"min": "100m", "default": "500m", "max": "2"},
                "limit": {"min": "100m", "default": "1", "max": "4"},
            },
            "memory": {
                "guaranteed": {"min": "128Mi", "default": "1Gi", "max": "4Gi"},
                "limit": {"min": "128Mi", "default": "2Gi", "max": "8Gi"},
            },
            "extended": [{"resource": "nvidia.com/gpu", "name": "GPU", "max": 2}],
        },
        "vault_token": {"allowed": True},
        "required": ["s3"],
        "git": {"hosts": ["github.com"]},
        "local": {},
    }
)
