"""The configuration files of OpenStack's services: one text each, its places in braces."""

from __future__ import annotations

SETTINGS = {
    "keystone": """\
[DEFAULT]
log_file = {folder}/log/keystone.log
[database]
connection = {database}
[token]
provider = fernet
[fernet_tokens]
key_repository = {folder}/keys
[credential]
key_repository = {folder}/cred
""",
    "placement": """\
[DEFAULT]
log_file = {folder}/log/placement.log
[api]
auth_strategy = keystone
[placement_database]
connection = {database}
[keystone_authtoken]
{as_placement}
""",
    "glance": """\
[DEFAULT]
bind_host = 127.0.0.1
bind_port = {port}
workers = 1
log_file = {folder}/log/glance.log
[database]
connection = {database}
[keystone_authtoken]
{as_glance}
[paste_deploy]
flavor = keystone
config_file = /etc/glance/glance-api-paste.ini
[glance_store]
stores = file
default_store = file
filesystem_store_datadir = {folder}/images
""",
    "neutron": """\
[DEFAULT]
bind_host = 127.0.0.1
bind_port = {port}
core_plugin = ml2
service_plugins =
auth_strategy = keystone
transport_url = {rabbit}
state_path = {folder}/neutron
log_file = {folder}/log/neutron.log
api_workers = 0
rpc_workers = 0
rpc_state_report_workers = 0
dhcp_agent_notification = false
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
api_paste_config = /etc/neutron/api-paste.ini
[database]
connection = {database}
[keystone_authtoken]
{as_neutron}
[oslo_concurrency]
lock_path = {folder}/neutron/lock
[agent]
root_helper =
[ml2]
type_drivers = local,flat
tenant_network_types = local
mechanism_drivers = linuxbridge
extension_drivers = port_security
[experimental]
linuxbridge = true
[ml2_type_flat]
flat_networks = *
""",
    # Neutron binds no port of a host on which no agent of its is alive.
    "bridge": """\
[DEFAULT]
host = burst
transport_url = {rabbit}
state_path = {folder}/neutron
log_file = {folder}/log/bridge.log
[experimental]
linuxbridge = true
[linux_bridge]
physical_interface_mappings =
[vxlan]
enable_vxlan = false
[securitygroup]
firewall_driver = noop
enable_security_group = false
[agent]
root_helper =
[oslo_concurrency]
lock_path = {folder}/neutron/lock
""",
    "nova": """\
[DEFAULT]
host = burst
my_ip = 127.0.0.1
transport_url = {rabbit}
state_path = {folder}/nova
log_dir = {folder}/log
compute_driver = fake.FakeDriver
enabled_apis = osapi_compute
osapi_compute_listen = 127.0.0.1
osapi_compute_listen_port = {port}
osapi_compute_workers = 1
vif_plugging_is_fatal = false
vif_plugging_timeout = 0
sync_power_state_interval = -1
[api]
auth_strategy = keystone
max_limit = 3
[api_database]
connection = {api_database}
[database]
connection = {database}
[conductor]
workers = 1
[scheduler]
workers = 1
[glance]
api_servers = http://127.0.0.1:{glance_port}
[keystone_authtoken]
{as_nova}
[placement]
{as_placement}
[neutron]
{as_neutron}
[service_user]
send_service_user_token = false
{as_nova}
[oslo_concurrency]
lock_path = {folder}/nova/lock
[vnc]
enabled = false
""",
}
"""``max_limit``: three servers a page, so that a listing of more has several."""
