"""Reports: a job, node or partition as ``scontrol show`` prints it, from slurmrestd's record.

Invariant: words and their order are scontrol 24.11's; a word whose value slurmrestd v0.0.42 does not tell is N/A or is
left out, never guessed.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.cli.slurm_commands.job_fields import base_state, reason, states, time_used
from gateway.cli.slurm_commands.table_format import Record
from gateway.cli.slurm_commands.values import (
    INFINITE,
    flags,
    long_minutes,
    long_seconds,
    megabytes,
    moment,
    number,
    or_null,
)
from gateway.slurm.states import shown

_SHARED = {"oversubscribe": "YES", "user": "USER", "mcs": "MCS", "topo": "TOPO"}


def job(record: Record, *, one_line: bool) -> str:
    """A job."""
    return _joined(_job_lines(record), one_line=one_line)


def node(record: Record, *, one_line: bool) -> str:
    """A node."""
    return _joined(_node_lines(record), one_line=one_line)


def partition(record: Record, default: str, *, one_line: bool) -> str:
    """A partition; ``default`` is the name of the default one."""
    return _joined(_partition_lines(record, default), one_line=one_line)


def _joined(lines: Iterator[str], *, one_line: bool) -> str:
    between = " " if one_line else "\n   "
    return between.join(lines) + ("\n" if one_line else "\n\n")


def _job_lines(job: Record) -> Iterator[str]:
    yield f"JobId={job['job_id']} {_array(job)}JobName={job['name']}"
    user, group = f"{job['user_name']}({job['user_id']})", f"{job['group_name']}({job['group_id']})"
    yield f"UserId={user} GroupId={group} MCS_label={job.get('mcs_label') or 'N/A'}"
    account, qos = or_null(job.get("account")), or_null(job.get("qos"))
    yield f"Priority={number(job['priority']) or 0} Nice={job.get('nice') or 0} Account={account} QOS={qos}"
    yield f"JobState={shown(states(job))} Reason={reason(job)} Dependency={or_null(job.get('dependency'))}"
    ended = job["exit_code"]
    code = f"{number(ended['return_code']) or 0}:{number(ended['signal']['id']) or 0}"
    switches = f"Requeue={int(job['requeue'])} Restarts={job['restart_cnt']} BatchFlag={int(job['batch_flag'])}"
    yield f"{switches} Reboot={int(job['reboot'])} ExitCode={code}"
    yield from _job_times(job)
    yield from _job_place(job)
    yield from _job_size(job)
    yield from _job_files(job)


def _array(job: Record) -> str:
    array, task = number(job.get("array_job_id")), number(job.get("array_task_id"))
    waiting = job.get("array_task_string")
    if not array:
        return ""
    most = number(job.get("array_max_tasks"))
    throttle = f"ArrayTaskThrottle={most} " if most else ""
    return f"ArrayJobId={array} ArrayTaskId={waiting or task} {throttle}"


def _job_times(job: Record) -> Iterator[str]:
    least = number(job["time_minimum"])
    limit = long_minutes(number(job["time_limit"]), "Partition_Limit")
    yield f"RunTime={long_seconds(time_used(job))} TimeLimit={limit} TimeMin={long_minutes(least) if least else 'N/A'}"
    yield f"SubmitTime={moment(job['submit_time'])} EligibleTime={moment(job['eligible_time'], 'Unknown')}"
    yield f"AccrueTime={moment(job['accrue_time'], 'Unknown')}"
    start, end = moment(job["start_time"], "Unknown"), moment(job["end_time"], "Unknown")
    yield f"StartTime={start} EndTime={end} Deadline={moment(job['deadline'])}"
    suspended = f"SuspendTime={moment(job['suspend_time'], 'None')} SecsPreSuspend={number(job['pre_sus_time']) or 0}"
    by = "Backfill" if "BACKFILL_ATTEMPTED" in flags(job, "flags") else "Main"
    yield f"{suspended} LastSchedEval={moment(job['last_sched_evaluation'], 'Unknown')} Scheduler={by}"


def _job_place(job: Record) -> Iterator[str]:
    # slurmrestd does not tell the session id.
    yield f"Partition={job['partition']} AllocNode:Sid={job.get('allocating_node') or 'N/A'}:N/A"
    if job.get("resv_name"):
        yield f"Reservation={job['resv_name']}"
    yield f"ReqNodeList={or_null(job.get('required_nodes'))} ExcNodeList={or_null(job.get('excluded_nodes'))}"
    planned = f" SchedNodeList={job['scheduled_nodes']}" if job.get("scheduled_nodes") else ""
    yield f"NodeList={job.get('nodes') or ''}{planned}"
    if job.get("batch_host"):
        yield f"BatchHost={job['batch_host']}"


def _job_size(job: Record) -> Iterator[str]:
    nodes, most = number(job["node_count"]) or 0, number(job["max_nodes"]) or 0
    cpus_per_task, tasks = number(job["cpus_per_task"]), number(job["tasks"])
    shown_nodes = f"{nodes}-{most}" if most and base_state(job) == "PENDING" else nodes
    yield (
        f"NumNodes={shown_nodes} NumCPUs={number(job['cpus']) or 0}"
        f" NumTasks={'N/A' if tasks is None else tasks} CPUs/Task={'N/A' if cpus_per_task is None else cpus_per_task}"
        f" ReqB:S:C:T=0:{job['sockets_per_board']}:{_any(job, 'cores_per_socket')}:{_any(job, 'threads_per_core')}"
    )
    yield f"ReqTRES={or_null(job.get('tres_req_str'))}"
    yield f"AllocTRES={or_null(job.get('tres_alloc_str'))}"
    per = ":".join(_tasks(job, name) for name in ("node", "board", "socket", "core"))
    yield f"Socks/Node={_any(job, 'sockets_per_node')} NtasksPerN:B:S:C={per} CoreSpec={job['core_spec'] or '*'}"
    per_cpu = number(job["memory_per_cpu"])
    kind, size = ("CPU", per_cpu) if per_cpu else ("Node", number(job["memory_per_node"]) or 0)
    disk = megabytes(number(job["minimum_tmp_disk_per_node"]) or 0)
    least = number(job["minimum_cpus_per_node"]) or 0
    yield f"MinCPUsNode={least} MinMemory{kind}={megabytes(size)} MinTmpDiskNode={disk}"
    delay = long_seconds(number(job["delay_boot"]) or 0)
    yield f"Features={or_null(job.get('features'))} DelayBoot={delay}"
    shared = next((_SHARED[word] for word in flags(job, "shared") if word in _SHARED), "NO")
    licences, network = or_null(job.get("licenses")), or_null(job.get("network"))
    yield f"OverSubscribe={shared} Contiguous={int(job['contiguous'])} Licenses={licences} Network={network}"


def _job_files(job: Record) -> Iterator[str]:
    yield f"Command={or_null(job.get('command'))}"
    yield f"WorkDir={job['current_working_directory']}"
    for word, name in _COMMENTS:
        if job.get(name):
            yield f"{word}={job[name]} "
    yield f"StdErr={job['standard_error']}"
    yield f"StdIn={job['standard_input']}"
    yield f"StdOut={job['standard_output']}"
    for word, name in _TRES:
        if job.get(name):
            yield f"{word}={job[name]}"
    yield ""


_COMMENTS = (("AdminComment", "admin_comment"), ("SystemComment", "system_comment"), ("Comment", "comment"))
_TRES = (
    ("CpusPerTres", "cpus_per_tres"),
    ("MemPerTres", "memory_per_tres"),
    ("TresBind", "tres_bind"),
    ("TresFreq", "tres_freq"),
    ("TresPerJob", "tres_per_job"),
    ("TresPerNode", "tres_per_node"),
    ("TresPerSocket", "tres_per_socket"),
    ("TresPerTask", "tres_per_task"),
)


def _any(job: Record, name: str) -> str:
    return str(number(job.get(name)) or "*")


def _tasks(job: Record, kind: str) -> str:
    count = number(job[f"tasks_per_{kind}"])
    return "*" if count in {None, INFINITE} else str(count)


def _node_lines(node: Record) -> Iterator[str]:
    arch = f"Arch={node['architecture']} " if node.get("architecture") else ""
    yield f"NodeName={node['name']} {arch}CoresPerSocket={node['cores']} "
    load = number(node.get("cpu_load"))
    shown_load = "N/A" if load is None else f"{load / 100:.2f}"
    cpus = f"CPUAlloc={node['alloc_cpus']} CPUEfctv={node['effective_cpus']} CPUTot={node['cpus']}"
    yield f"{cpus} CPULoad={shown_load}"
    yield f"AvailableFeatures={or_null(','.join(node['features']))}"
    yield f"ActiveFeatures={or_null(','.join(node['active_features']))}"
    yield f"Gres={or_null(node.get('gres'))}"
    version = f"Version={node['version']}" if node.get("version") else ""
    yield f"NodeAddr={node['address']} NodeHostName={node['hostname']} Port={node['port']} {version}"
    if node.get("operating_system"):
        yield f"OS={node['operating_system']} "
    free = number(node.get("free_mem"))
    memory = f"RealMemory={node['real_memory']} AllocMem={node['alloc_memory']}"
    yield f"{memory} FreeMem={'N/A' if free is None else free} Sockets={node['sockets']} Boards={node['boards']}"
    label = node.get("mcs_label") or "N/A"
    yield (
        f"State={'+'.join(node['state'])} ThreadsPerCore={node['threads']} TmpDisk={node['temporary_disk']}"
        f" Weight={node['weight']} Owner={node.get('owner') or 'N/A'} MCS_label={label}"
    )
    yield f"Partitions={','.join(node['partitions'])} "
    yield f"BootTime={moment(node['boot_time'], 'None')} SlurmdStartTime={moment(node['slurmd_start_time'], 'None')}"
    resume = moment(node["resume_after"], "None")
    yield f"LastBusyTime={moment(node['last_busy'], 'Unknown')} ResumeAfterTime={resume}"
    yield f"CfgTRES={node['tres']}"
    yield f"AllocTRES={node['tres_used']}"
    energy = node["energy"]
    yield f"CurrentWatts={number(energy['current_watts']) or 0} AveWatts={energy['average_watts']}"
    if node.get("reason"):
        who = f"{node.get('reason_set_by_user') or 'root'}@{moment(node['reason_changed_at'])}"
        yield f"Reason={node['reason']} [{who}]"
    yield ""


def _partition_lines(part: Record, default: str) -> Iterator[str]:
    most, least, nodes = part["maximums"], part["minimums"], part["nodes"]
    yield f"PartitionName={part['name']}"
    groups, accounts = part["groups"]["allowed"] or "ALL", part["accounts"]["allowed"] or "ALL"
    yield f"AllowGroups={groups} AllowAccounts={accounts} AllowQos={part['qos']['allowed'] or 'ALL'}"
    is_default, qos = "YES" if part["name"] == default else "NO", part["qos"]["assigned"] or "N/A"
    yield f"AllocNodes={nodes['allowed_allocation'] or 'ALL'} Default={is_default} QoS={qos}"
    time = part["defaults"]["time"]
    yield f"DefaultTime={long_minutes(number(time), 'NONE')} GraceTime={part['grace_time']}"
    count = number(most["nodes"])
    yield (
        f"MaxNodes={'UNLIMITED' if count == INFINITE else count} MaxTime={long_minutes(number(most['time']))}"
        f" MinNodes={least['nodes']} MaxCPUsPerNode={_limit(most['cpus_per_node'])}"
        f" MaxCPUsPerSocket={_limit(most['cpus_per_socket'])}"
    )
    if part.get("node_sets"):
        yield f"NodeSets={part['node_sets']}"
    yield f"Nodes={nodes['configured'] or '(null)'}"
    yield f"PriorityJobFactor={part['priority']['job_factor']} PriorityTier={part['priority']['tier']}"
    state = part["partition"]["state"][0]
    yield f"State={state} TotalCPUs={part['cpus']['total']} TotalNodes={nodes['total']}"
    yield f"TRES={or_null(part['tres']['configured'])}"


def _limit(value: object) -> str:
    count = number(value)
    return "UNLIMITED" if count in {None, INFINITE} else str(count)
