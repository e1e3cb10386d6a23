-- written by burst site install; burst site remove removes it.
--
-- Jobs of the cloud partition wait, held, until the gateway has put money by for them; the gateway finds them by
-- asking slurmctld. Nothing here opens a socket or waits for anything, and a file is only opened when slurmctld loads
-- this script, so sbatch is as fast as before and works as before when the gateway is away. Whatever goes wrong in our
-- part is caught and logged, and the job goes its ordinary way.
--
-- A job_submit.lua that the site had before is called first, and what it refuses is refused.

local PARTITION = "cloud"
local SLURM_USER = 0
local SITES_OWN = ""

local WAITS = "burst: waits for the gateway"
local BY_OWNER = ", held by its owner"
local MAY_BURST = "burst: may go to the cloud"

-- What a funded job may not change: the price was made for it.
local PRICED = {
  "partition", "time_limit", "min_nodes", "max_nodes", "num_tasks", "min_cpus", "max_cpus", "cpus_per_task",
  "ntasks_per_node", "pn_min_cpus", "pn_min_memory", "features", "tres_per_job", "tres_per_node", "shared",
}

-- The site's own script, in an environment of its own: its functions do not become ours. One that cannot be loaded is
-- logged; slurmctld, which would not start with it, starts.
local own = setmetatable({}, {__index = _G})

local function load_sites_own(path)
  local chunk, trouble
  if setfenv then
    chunk, trouble = loadfile(path)
    if chunk then setfenv(chunk, own) end
  else
    chunk, trouble = loadfile(path, "t", own)
  end
  if not chunk then error(trouble, 0) end
  chunk()
end

if SITES_OWN ~= "" then
  local went, trouble = pcall(load_sites_own, SITES_OWN)
  if not went then slurm.log_error("%s", "burst: the site's own job_submit.lua is not in force: " .. tostring(trouble)) end
end

local function names_cloud(partitions)
  local cloud, others = false, {}
  for name in string.gmatch(partitions or "", "[^,]+") do
    if name == PARTITION then cloud = true else others[#others + 1] = name end
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

-- A job for the site's own partitions and the cloud is the site's own at first: the gateway adds the cloud once it has
-- put money by, if the job still waits then.
local function submitted(job, uid)
  local cloud, others = names_cloud(job.partition)
  if not cloud then return slurm.SUCCESS end
  if trusted(uid) and is_token(job.admin_comment) then return slurm.SUCCESS end
  if #others > 0 then
    job.partition = table.concat(others, ",")
    job.admin_comment = MAY_BURST
    return slurm.SUCCESS
  end
  job.admin_comment = WAITS .. (job.priority == 0 and BY_OWNER or "")
  job.priority = 0
  return slurm.SUCCESS
end

local function modified(job, record, uid)
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

local function guarded(ours, ...)
  local went, answer = pcall(ours, ...)
  if went then return answer end
  slurm.log_error("%s", "job_submit.lua: " .. tostring(answer))
  return slurm.SUCCESS
end

-- What the site's own function of this name says. An error in it is logged, as slurmctld does, and no refusal.
local function theirs(name, ...)
  local called = rawget(own, name)
  if type(called) ~= "function" then return slurm.SUCCESS end
  local answer = guarded(called, ...)
  return type(answer) == "number" and answer or slurm.SUCCESS
end

function slurm_job_submit(job, partitions, uid)
  local answer = theirs("slurm_job_submit", job, partitions, uid)
  if answer ~= slurm.SUCCESS then return answer end
  return guarded(submitted, job, uid)
end

function slurm_job_modify(job, record, partitions, uid)
  local answer = theirs("slurm_job_modify", job, record, partitions, uid)
  if answer ~= slurm.SUCCESS then return answer end
  return guarded(modified, job, record, uid)
end

return slurm.SUCCESS
