-- The load for wrk, as METHOD after "--" says; what came of it as a line of JSON.
-- Alone, one request again and again, without a field more than wrk needs. With "browser" behind it,
-- the request has what browsers send besides. With "orders", there are many browsers, and each
-- request is an order of its own, with a body of some 200 bytes, for orders.py.

local BROWSERS = 5000 -- a multiple of the 5 counts, and more heads than a door remembers
local COUNTS = 5
local NUMBER = "########" -- where the running number is put into a request that is otherwise made

local agents = {
  "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
  "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:141.0) Gecko/20100101 Firefox/141.0",
  "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36",
  "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15",
  "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Mobile Safari/537.36",
  "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
}
local languages = { "en-US,en;q=0.5", "de,en-US;q=0.7,en;q=0.3", "fr-FR,fr;q=0.9", "en-GB,en;q=0.9" }
local first = { "Ann", "Bob", "Chloé", "Dmitri", "Eva", "Farid", "Grace", "Håkon", "Ines", "John", "Kim" }
local last = { "Smith", "Müller", "Garcia", "Okafor", "Lindqvist", "Brown", "O'Neill", "Rossi", "Tanaka" }
local streets = { "High Street", "Station Road", "Church Lane", "Hauptstraße", "Rue de la Paix", "Mill Road", "Park Avenue" }
local cities = { "Springfield", "Hull", "Köln", "Lyon", "Bergen", "Porto", "Leeds", "Graz" }
local notes = {
  "please ring the bell twice, then leave it with the neighbour",
  "this is a present: no invoice into the parcel, and the blue paper if you have it",
  "on weekdays after five only, the gate is locked before; call when you are there",
}

local function one_of(list, n)
  return list[n % #list + 1]
end

local function order(n)
  return string.format(
    '{"item":"book-%d","count":%d,"name":"%s %s","street":"%d %s","city":"%s","note":"our reference %s; %s"}',
    n * 37 % 100 + 1, n % COUNTS + 1, one_of(first, n), one_of(last, n), n * 31 % 240 + 1,
    one_of(streets, n), one_of(cities, n), NUMBER, one_of(notes, n))
end

-- All but the running number is made before the load begins, so that the load stays cheap.
local function make_orders(method)
  local before, after = {}, {}
  local headers = wrk.headers
  headers["Host"] = "shop.example"
  headers["Accept"] = "application/json"
  headers["Accept-Encoding"] = "gzip, deflate, br, zstd"
  headers["Referer"] = "https://shop.example/basket"
  headers["Content-Type"] = "application/json"
  headers["Origin"] = "https://shop.example"
  for n = 1, BROWSERS do
    headers["User-Agent"] = one_of(agents, n)
    headers["Accept-Language"] = one_of(languages, n)
    headers["Cookie"] = string.format("session=%08x%08x%08x%08x", n * 7919, n * 104729, n * 1299709, n)
    local made = wrk.format(method, nil, headers, order(n))
    local at = made:find(NUMBER, 1, true)
    before[n], after[n] = made:sub(1, at - 1), made:sub(at + #NUMBER)
  end
  local sent = 0
  return function()
    sent = sent + 1
    local n = sent % BROWSERS + 1
    return before[n] .. string.format("%08d", sent) .. after[n]
  end
end

function init(args)
  wrk.method = args[1]
  if args[2] == "browser" then
    wrk.headers["User-Agent"] = agents[1]
    wrk.headers["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    wrk.headers["Accept-Language"] = languages[1]
    wrk.headers["Accept-Encoding"] = "gzip, deflate, br, zstd"
    wrk.headers["Referer"] = "https://numbers.example/"
    wrk.headers["Cookie"] = "session=4f1d0b7e9a2c4d5e8f60718293a4b5c6"
  elseif args[2] == "orders" then
    request = make_orders(args[1])
  end
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{"answers":%d,"duration_us":%d,"p50_us":%.1f,"p99_us":%.1f,"refused":%d,"broken":%d}\n',
    summary.requests, summary.duration, latency:percentile(50.0), latency:percentile(99.0),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
