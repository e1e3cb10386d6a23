-- written by burst site install; burst site uninstall removes it.
--
-- Jobs of the cloud partition wait, held, until the gateway has put money by for them; the gateway finds them by
-- asking slurmctld. Nothing here opens a file or a socket or waits for anything, so sbatch is as fast as before and
-- works as before when the gateway is away.

local PARTITION = "cloud"
local SLURM_USER = 0

local WAITS = "burst: waits for the gateway"
local BY_OWNER = ", held by its owner"

-- What a funded job may not change: the price was made for it.
local PRICED = {
  "partition", "time_limit", "min_nodes", "max_nodes", "num_tasks", "min_cpus", "max_cpus", "cpus_per_task",
  "ntasks_per_node", "pn_min_cpus", "pn_min_memory", "features", "tres_per_job", "tres_per_node", "shared",
}

local function names_cloud(partitions)
  local cloud, others = false, false
  for name in string.gmatch(partitions or "", "[^,]+") do
    if name == PARTITION then cloud = true else others = true end
  end
  return cloud, others
end

local function trusted(uid)
  return uid == 0 or uid == SLURM_USER
end

-- The gateway's name for a job of its own: 32 hexadecimal digits. Only Slurm's operators can set an AdminComment.
local function is_token(comment)
  return comment ~= nil and #comment == 32 and not string.find(comment, "[^0-9a-f]")
end

local function is_set(value)
  return value ~= nil and value ~= "" and value ~= slurm.NO_VAL and value ~= slurm.NO_VAL16 and value ~= slurm.NO_VAL64
end

local function refuse(sentence)
  slurm.log_user("%s", "burst: " .. sentence)
  return slurm.ERROR
end

function slurm_job_submit(job, partitions, uid)
  local cloud, others = names_cloud(job.partition)
  if not cloud then return slurm.SUCCESS end
  if others then return refuse("name the partition " .. PARTITION .. " alone: its jobs are paid for") end
  if trusted(uid) and is_token(job.admin_comment) then return slurm.SUCCESS end
  job.admin_comment = WAITS .. (job.priority == 0 and BY_OWNER or "")
  job.priority = 0
  return slurm.SUCCESS
end

function slurm_job_modify(job, record, partitions, uid)
  if trusted(uid) then return slurm.SUCCESS end
  local goes = names_cloud(job.partition)
  if not names_cloud(record.partition) then
    if goes then return refuse("a job cannot be moved there; submit it with --partition=" .. PARTITION) end
    return slurm.SUCCESS
  end
  if is_token(record.admin_comment) then
    for _, field in ipairs(PRICED) do
      if is_set(job[field]) then
        return refuse("money is held for the job as it is; cancel it and submit it again")
      end
    end
  elseif is_set(job.priority) and job.priority ~= 0 then
    return refuse("it is released when it is paid for; scontrol show job says in AdminComment what it waits for")
  end
  return slurm.SUCCESS
end

return slurm.SUCCESS
