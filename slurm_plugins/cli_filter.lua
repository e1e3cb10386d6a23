-- written by burst site install; burst site remove removes it.
--
-- Runs in sbatch, salloc and srun, before slurmctld has the job: it says at once what a job of the cloud partition will
-- be refused or made dear for. It changes nothing, opens nothing and asks nobody; whatever goes wrong in it is caught, and
-- the command goes on as without it.

local PARTITION = "cloud"

local function wants_cloud(partitions)
  for name in string.gmatch(partitions or "", "[^,]+") do
    if name == PARTITION then return true end
  end
  return false
end

local function is_set(value)
  return value ~= nil and value ~= "" and value ~= "-2"
end

local function say(sentence)
  slurm.log_info("%s", "burst: " .. sentence)
end

local function advise(options)
  if not wants_cloud(options["partition"]) then return end
  if not is_set(options["time"]) then
    say("no --time was given: money is held for the longest that partition " .. PARTITION .. " lets it run by default")
  end
  if is_set(options["gres"]) or is_set(options["gpus"]) or is_set(options["gpus-per-node"]) then
    say("the nodes of partition " .. PARTITION .. " have no GPUs")
  end
end

function slurm_cli_setup_defaults(options, early)
  return slurm.SUCCESS
end

function slurm_cli_pre_submit(options, offset)
  pcall(advise, options)
  return slurm.SUCCESS
end

function slurm_cli_post_submit(offset, job, step)
  return slurm.SUCCESS
end

return slurm.SUCCESS
