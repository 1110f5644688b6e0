-- What wrk sends and what it tells. Arguments: method, path, cookies file, prefix of the keys or "-", body file or "-",
-- then headers as name=value.

local made, method, path, body, prefix, headers = {}, "GET", "/", nil, "-", {}
local cookies, number = {}, 0

local function text_of(name)
  local file = assert(io.open(name, "r"))
  local text = file:read("*a")
  file:close()
  return text
end

function init(args)
  method, path, prefix = args[1], args[2], args[4]
  for line in text_of(args[3]):gmatch("[^\n]+") do cookies[#cookies + 1] = line end
  if args[5] ~= "-" then body = text_of(args[5]) end
  for place = 6, #args do
    local name, value = args[place]:match("^([^=]+)=(.*)$")
    headers[name] = value
  end
  for place, cookie in ipairs(cookies) do
    headers["Cookie"] = cookie
    made[place] = wrk.format(method, path, headers, body)
  end
end

function request()
  number = number + 1
  local place = number % #cookies + 1
  if prefix == "-" then return made[place] end
  headers["Cookie"] = cookies[place]
  headers["Idempotency-Key"] = prefix .. number
  return wrk.format(method, path, headers, body)
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "refused": %d, "broken": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
