"""Every resource of the API, by the names of balena's data model."""

from __future__ import annotations

import sqlalchemy as sa

from .resource import STAMPS, Field, Resource, big, boolean, date, integer, json, ref, text

CLOUD = "balena-cloud"
_OWN = {"writable": False}


def _variable(name: str, owner: str, scope: str, device: str | None = None) -> Resource:
    fields = (
        ref(owner, owner, null=False),
        text("name", null=False),
        text("value", null=False),
    )
    return Resource(name, fields, ((owner, "name"),), scope, device)


def _tag(owner: str, scope: str, device: str | None = None) -> Resource:
    fields = (
        ref(owner, owner, null=False),
        text("tag_key", null=False),
        text("value", null=False, default=""),
    )
    return Resource(f"{owner}_tag", fields, ((owner, "tag_key"),), scope, device)


_DEVICE = Resource(
    "device",
    (
        integer("actor", **_OWN),
        text("api_heartbeat_state", null=False, default="unknown"),
        date("changed_api_heartbeat_state_on__date", **_OWN),
        text("uuid", null=False),
        text("local_id"),
        text("device_name"),
        text("note"),
        ref("is_of__device_type", "device_type", back="describes__device"),
        ref("belongs_to__application", "application", null=False, back="owns__device"),
        boolean("is_online"),
        date("last_connectivity_event", **_OWN),
        boolean("is_connected_to_vpn"),
        date("last_vpn_event", **_OWN),
        date("is_locked_until__date"),
        text("public_address"),
        text("ip_address"),
        text("mac_address"),
        boolean("is_web_accessible"),
        integer("memory_usage"),
        integer("memory_total"),
        text("storage_block_device"),
        integer("storage_usage"),
        integer("storage_total"),
        integer("cpu_usage"),
        integer("cpu_temp"),
        boolean("is_undervolted"),
        text("cpu_id"),
        ref("is_running__release", "release", back="is_running_on__device", cascade="null"),
        integer("download_progress"),
        text("status"),
        text("os_version"),
        text("os_variant"),
        text("overall_status", **_OWN),
        integer("overall_progress", **_OWN),
        text("supervisor_version"),
        integer("provisioning_progress"),
        text("provisioning_state"),
        integer("api_port"),
        text("api_secret"),
        text("logs_channel", hidden=True),
        ref("is_managed_by__service_instance", "service_instance", back="manages__device"),
        ref("is_pinned_on__release", "release", back="is_pinned_to__device", cascade="null"),
        ref(
            "should_be_running__release",
            "release",
            back="should_be_running_on__device",
            cascade="null",
        ),
        ref(
            "should_be_operated_by__release",
            "release",
            back="should_operate__device",
            cascade="null",
        ),
        ref(
            "should_be_managed_by__release",
            "release",
            back="should_manage__device",
            cascade="null",
        ),
        text("update_status"),
        date("last_update_status_event", **_OWN),
        boolean("is_active", only=CLOUD),
        boolean("is_frozen", only=CLOUD),
        text("custom_latitude", only=CLOUD),
        text("custom_longitude", only=CLOUD),
        text("latitude", only=CLOUD),
        text("longitude", only=CLOUD),
        text("location", only=CLOUD),
        date("is_accessible_by_support_until__date", only=CLOUD),
        date("metrics_written_ms", hidden=True),
    ),
    (("uuid",),),
    "belongs_to__application",
    "",
)

_APPLICATION = Resource(
    "application",
    (
        integer("actor", **_OWN),
        boolean("should_track_latest_release", default=True),
        text("is_of__class", null=False, default="fleet"),
        ref("organization", "organization", null=False),
        text("app_name", null=False),
        text("slug", null=False, writable=False),
        ref(
            "is_for__device_type",
            "device_type",
            null=False,
            back="is_default_for__application",
            cascade="restrict",
        ),
        ref(
            "should_be_running__release",
            "release",
            back="should_be_running_on__application",
            cascade="null",
        ),
        ref("application_type", "application_type"),
        ref(
            "depends_on__application",
            "application",
            back="is_depended_on_by__application",
            only=CLOUD,
        ),
        boolean("is_host"),
        boolean("is_archived"),
        text("uuid", null=False),
        boolean("is_public"),
        date("is_accessible_by_support_until__date", only=CLOUD),
        boolean("is_discoverable", default=True, only=CLOUD),
        text("is_stored_at__repository_url", only=CLOUD),
    ),
    (("app_name", "organization"), ("slug",), ("uuid",)),
    "",
)

_RELEASE = Resource(
    "release",
    (
        ref("belongs_to__application", "application", null=False, back="owns__release"),
        text("commit", null=False),
        json("composition"),
        text("status", null=False, default="running"),
        text("source", default="cloud"),
        text("build_log"),
        boolean("is_invalidated"),
        date("start_timestamp"),
        date("end_timestamp"),
        date("update_timestamp", **_OWN),
        text("release_version"),
        json("contract"),
        boolean("is_passing_tests", default=True),
        date("is_finalized_at__date", **_OWN),
        text("phase"),
        boolean("is_final", default=True),
        text("semver"),
        integer("semver_major", **_OWN),
        integer("semver_minor", **_OWN),
        integer("semver_patch", **_OWN),
        text("semver_prerelease", **_OWN),
        text("semver_build", **_OWN),
        text("variant"),
        integer("revision", **_OWN),
        text("raw_version", **_OWN),
        json("version", **_OWN),
        text("known_issue_list"),
        text("note"),
        text("invalidation_reason"),
        ref("is_created_by__user", "user", back="creates__release", only=CLOUD, cascade="null"),
    ),
    (("commit", "belongs_to__application"),),
    "belongs_to__application",
)

_IMAGE = Resource(
    "image",
    (
        date("start_timestamp"),
        date("end_timestamp"),
        text("dockerfile"),
        ref("is_a_build_of__service", "service", null=False, back="is_built_by__image"),
        big("image_size"),
        text("is_stored_at__image_location", null=False, writable=False),
        text("project_type"),
        text("error_message"),
        text("build_log"),
        date("push_timestamp"),
        text("status", null=False, default="running"),
        text("content_hash"),
        json("contract"),
    ),
    (("is_stored_at__image_location",),),
    "is_a_build_of__service.application",
)

_LIST = (
    Resource(
        "user",
        (integer("actor", **_OWN), text("username"), text("email"), text("password", hidden=True)),
        (("username",), ("email",)),
        writable=False,
    ),
    Resource(
        "organization",
        (text("name", null=False), text("handle", null=False)),
        (("handle",),),
    ),
    Resource(
        "organization_membership",
        (
            ref("user", "user", null=False),
            ref("is_member_of__organization", "organization", null=False),
            text("organization_membership_role", default="administrator"),
        ),
        (("user", "is_member_of__organization"),),
        writable=False,
    ),
    Resource(
        "application_type",
        (
            text("name"),
            text("slug"),
            text("description"),
            boolean("supports_multicontainer", default=True),
            boolean("supports_web_url", default=True),
            boolean("is_legacy"),
            boolean("requires_payment"),
            text("needs__os_version_range"),
            integer("maximum_device_count"),
        ),
        writable=False,
    ),
    Resource("cpu_architecture", (text("slug", null=False),), (("slug",),), writable=False),
    Resource(
        "device_type",
        (
            text("slug", null=False),
            text("name", null=False),
            boolean("is_private"),
            text("logo"),
            json("contract"),
            ref("is_of__cpu_architecture", "cpu_architecture", back="is_supported_by__device_type"),
        ),
        (("slug",),),
        writable=False,
    ),
    Resource(
        "device_type_alias",
        (
            text("is_referenced_by__alias", null=False),
            ref("references__device_type", "device_type", null=False),
        ),
        (("is_referenced_by__alias",),),
        writable=False,
    ),
    Resource("service_instance", (text("ip_address"), date("last_heartbeat")), writable=False),
    _APPLICATION,
    _RELEASE,
    Resource(
        "service",
        (ref("application", "application", null=False), text("service_name", null=False)),
        (("application", "service_name"),),
        "application",
    ),
    _IMAGE,
    Resource(
        "image__is_part_of__release",
        (
            ref("image", "image", null=False, back="release_image"),
            ref("is_part_of__release", "release", null=False, back="release_image"),
        ),
        (("image", "is_part_of__release"),),
        "is_part_of__release.belongs_to__application",
    ),
    Resource(
        "image_label",
        (
            ref("release_image", "image__is_part_of__release", null=False),
            text("label_name", null=False),
            text("value", null=False),
        ),
        (("release_image", "label_name"),),
        "release_image.is_part_of__release.belongs_to__application",
    ),
    Resource(
        "image_environment_variable",
        (
            ref("release_image", "image__is_part_of__release", null=False),
            text("name", null=False),
            text("value", null=False),
        ),
        (("release_image", "name"),),
        "release_image.is_part_of__release.belongs_to__application",
    ),
    _DEVICE,
    Resource(
        "image_install",
        (
            ref("device", "device", null=False),
            ref("installs__image", "image", null=False, aliases=("image",)),
            ref("is_provided_by__release", "release", null=False, back="provides__image_install"),
            text("status", null=False),
            integer("download_progress"),
            date("install_date"),
            date("written_ms", hidden=True),
        ),
        (("device", "installs__image"),),
        "device.belongs_to__application",
        "device",
        writable=False,
    ),
    Resource(
        "service_install",
        (
            ref("device", "device", null=False),
            ref("installs__service", "service", null=False, aliases=("service",)),
        ),
        (("device", "installs__service"),),
        "device.belongs_to__application",
        "device",
        writable=False,
    ),
    _variable("application_config_variable", "application", "application"),
    _variable("application_environment_variable", "application", "application"),
    _variable("build_environment_variable", "application", "application"),
    _variable("service_environment_variable", "service", "service.application"),
    _variable("device_config_variable", "device", "device.belongs_to__application", "device"),
    _variable("device_environment_variable", "device", "device.belongs_to__application", "device"),
    _variable(
        "device_service_environment_variable",
        "service_install",
        "service_install.device.belongs_to__application",
        "service_install.device",
    ),
    _tag("application", "application"),
    _tag("release", "release.belongs_to__application"),
    _tag("device", "device.belongs_to__application", "device"),
    Resource(
        "api_key",
        (
            text("key", hidden=True, null=False),
            date("expiry_date"),
            integer("is_of__actor", null=False),
            text("name"),
            text("description"),
            text("kind", hidden=True, null=False),
            ref("device", "device", hidden=True),
            ref("application", "application", hidden=True),
            ref("user", "user", hidden=True),
        ),
        (("key",),),
    ),
)

RESOURCES: dict[str, Resource] = {resource.name: resource for resource in _LIST}
for _resource in _LIST:
    if _resource.timestamps:
        for _name in STAMPS:
            _resource.by_name[_name] = Field(_name, "date", null=False, writable=False)
    _resource.by_name["id"] = Field("id", "integer", null=False, writable=False)
    for _field in _resource.fields:
        _resource.by_name[_field.name] = _field

ALIASES = {"release_image": "image__is_part_of__release", "my_application": "application"}
"""Other names of resources."""

METADATA = sa.MetaData()
TABLES: dict[str, sa.Table] = {name: item.table(METADATA) for name, item in RESOURCES.items()}
