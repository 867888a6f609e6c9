-- The bodies of a file, in turn; each thread of wrk has its own turn.
-- wrk … -s wrk.lua URL -- FILE CONTENT-TYPE WRITE-KEY        bodies end with a zero byte

local requests, at = {}, 0

function init(args)
  wrk.method = 'POST'
  wrk.headers['Content-Type'] = args[2]
  wrk.headers['X-TD-Write-Key'] = args[3]
  local file = assert(io.open(args[1], 'rb'))
  for body in file:read('*a'):gmatch('([^%z]+)%z') do
    requests[#requests + 1] = wrk.format(nil, nil, nil, body)
  end
  file:close()
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary)
  local errors = summary.errors
  io.write(string.format('\nfound {"answers":%d,"elapsedMs":%f,"refused":%d,"broken":%d}\n',
    summary.requests, summary.duration / 1000, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
