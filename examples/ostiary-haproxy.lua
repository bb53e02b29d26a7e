-- Asks Ostiary about a request before HAProxy forwards it: `http-request lua.ostiary URL/RULE`.
-- HAProxy has no such directive of its own. The script needs HAProxy 2.6 or later, built with Lua (Debian's is).
--
-- If Ostiary returns 200 with a subject, or admits a preflight request, the script writes the caller's identity into the
-- request and sets the variable txn.ostiary_admitted to true. A refusal by Ostiary goes to the client unchanged. After
-- any error the variable stays unset, and the line after this action in haproxy.cfg refuses the request.

local IDENTITY = {
    "x-auth-subject", "x-auth-kind", "x-auth-organization", "x-auth-credential", "x-auth-scopes", "x-auth-assertion",
}
local CREDENTIAL = { "x-api-key", "api-key", "authorization" }
local REFUSALS = { [400] = true, [401] = true, [403] = true, [429] = true, [503] = true }
local TOLD = { "content-type", "www-authenticate", "x-auth-error", "retry-after" }
local PATIENCE = 5000 -- milliseconds; the backend `ostiary` has shorter ones

-- The values of a header field, one for each line of the request. If there are two, Ostiary refuses them.
local function values(field)
    local found = {}
    for position, value in pairs(field) do
        found[position + 1] = value -- HAProxy counts from 0
    end
    return found
end

local function ask(txn, url)
    local given = txn.http:req_get_headers()
    local headers = {
        -- haproxy.cfg makes sure that Ostiary checks the target that HAProxy forwards.
        ["x-forwarded-method"] = { txn.sf:method() },
        ["x-forwarded-uri"] = { txn.sf:url() },
        ["x-forwarded-for"] = { txn.sf:src() },
    }
    for _, name in ipairs(CREDENTIAL) do
        if given[name] then
            headers[name] = values(given[name])
        end
    end
    return core.httpclient():get { url = url, headers = headers, timeout = PATIENCE }
end

local function first(answer, name)
    local field = answer.headers[name]
    return field and field[0] or ""
end

local function refuse(txn, answer)
    local reply = txn:reply { status = answer.status, body = answer.body }
    reply:add_header("cache-control", "no-store")
    for _, name in ipairs(TOLD) do
        for _, value in pairs(answer.headers[name] or {}) do
            reply:add_header(name, value)
        end
    end
    txn:done(reply)
end

core.register_action("ostiary", { "http-req" }, function(txn, url)
    local answer = ask(txn, url)
    local preflight = first(answer, "ostiary-preflight") == "admitted"
    if answer.status == 200 and (preflight or first(answer, "x-auth-subject") ~= "") then
        for _, name in ipairs(IDENTITY) do
            txn.http:req_set_header(name, first(answer, name))
        end
        txn:set_var("txn.ostiary_admitted", true)
    elseif REFUSALS[answer.status] then
        refuse(txn, answer)
    end
end, 1)
