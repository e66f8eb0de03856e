-- With an argument, each request creates a user whose e-mail address begins with it.
function init(arguments)
  local prefix, n = arguments[1], 0
  if prefix then
    request = function()
      n = n + 1
      local path = "/users?name=Ada&email=" .. prefix .. "-" .. n .. "@example.com"
      return wrk.format("POST", path)
    end
  end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "microseconds": %d, "errors": %d, "p50": %d, "p99": %d}\n',
    summary.requests, summary.duration,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
