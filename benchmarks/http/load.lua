-- What wrk is told: to read the processor clocks at the two instants between which it counts.
--
-- `init` runs last before the connections are opened, `done` first after the last reply that counts,
-- while the connections are still open. The requests' text is made once; with a depth above 1 that many
-- of them leave in one write, and the next follow when all are answered.
--
-- usage: wrk ... -t1 -s load.lua URL -- DEPTH PID...      prints one more line of key=value pairs
local ffi = require("ffi")

ffi.cdef([[
struct tc_timespec { long seconds; long ns; };
int clock_gettime(int clock, struct tc_timespec *out);
]])

local CLOCK_PROCESS = 2
local now = ffi.new("struct tc_timespec")
local thread_of_wrk

local function clock_ns(clock)
   assert(ffi.C.clock_gettime(clock, now) == 0, "a process has ended")
   return tonumber(now.seconds) * 1e9 + tonumber(now.ns)
end

-- The kernel's number for the clock of a process: clock_getcpuclockid(3).
local function processes_ns(pids)
   local sum = 0
   for pid in pids:gmatch("%d+") do
      sum = sum + clock_ns(-tonumber(pid) * 8 - 6)
   end
   return sum
end

function setup(thread)
   thread_of_wrk = thread
end

function init(args)
   local depth = tonumber(args[1])

   pids = table.concat(args, " ", 2)
   if depth > 1 then
      local batch = wrk.format():rep(depth)
      request = function()
         return batch
      end
   end
   server_ns = processes_ns(pids)
   client_ns = clock_ns(CLOCK_PROCESS)
end

function done(summary, latency, _)
   local client = clock_ns(CLOCK_PROCESS) - thread_of_wrk:get("client_ns")
   local server = processes_ns(thread_of_wrk:get("pids")) - thread_of_wrk:get("server_ns")
   local errors = summary.errors
   local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
   local count = math.max(1, summary.requests)
   local pairs_of = {
      "requests=" .. summary.requests,
      "failed=" .. failed,
      "bytes=" .. summary.bytes,
      ("rps=%.1f"):format(summary.requests / summary.duration * 1e6),
      ("server_us=%.4f"):format(server / 1e3 / count),
      ("client_us=%.4f"):format(client / 1e3 / count),
      ("server_busy=%.4f"):format(server / 1e3 / summary.duration),
      ("client_busy=%.4f"):format(client / 1e3 / summary.duration),
      "p50_us=" .. latency:percentile(50),
      "p99_us=" .. latency:percentile(99),
      "p999_us=" .. latency:percentile(99.9),
      "max_us=" .. latency.max,
   }

   print("load: " .. table.concat(pairs_of, " "))
end
