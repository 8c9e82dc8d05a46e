-- One request again and again, as METHOD after "--" says; what came of it as a line of JSON.
-- With "browser" behind it, the request has what browsers send besides.
function init(args)
  wrk.method = args[1]
  if args[2] == "browser" then
    wrk.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    wrk.headers["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    wrk.headers["Accept-Language"] = "en-US,en;q=0.5"
    wrk.headers["Accept-Encoding"] = "gzip, deflate, br, zstd"
    wrk.headers["Referer"] = "https://numbers.example/"
    wrk.headers["Cookie"] = "session=4f1d0b7e9a2c4d5e8f60718293a4b5c6"
  end
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{"answers":%d,"duration_us":%d,"p50_us":%.1f,"p99_us":%.1f,"refused":%d,"broken":%d}\n',
    summary.requests, summary.duration, latency:percentile(50.0), latency:percentile(99.0),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
