-- Healthy: the Secret holds credentials that have not expired, and nobody must act.
-- Progressing: the operator is working on a new object or a changed spec, or is about to fetch the next credentials.
-- Degraded: somebody must act, or the Secret holds no credentials that are good.
-- Suspended: spec.suspend is true, whether or not the credentials are good. The script never returns Unknown.
local hs = {}
local conditions = {}
if obj.status ~= nil and obj.status.conditions ~= nil then
  for i, condition in ipairs(obj.status.conditions) do
    conditions[condition.type] = condition
  end
end
local ready = conditions["Ready"]
local fetched = conditions["Fetched"]
local healthy = conditions["Healthy"]
local stalled = conditions["Stalled"]

if ready == nil or fetched == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  hs.status = "Progressing"
  hs.message = "The operator has not seen generation " .. tostring(obj.metadata.generation) .. " yet."
  return hs
end

-- The operator does nothing for this object. The message says whether the credentials are good.
if fetched.reason == "Suspended" then
  hs.status = "Suspended"
  hs.message = ready.message .. " " .. fetched.message
  return hs
end

-- Somebody must act. The message says until when the credentials in the Secret are valid.
if stalled ~= nil and stalled.status == "True" then
  hs.status = "Degraded"
  hs.message = stalled.message
  return hs
end

if ready.status == "True" then
  hs.status = "Healthy"
  hs.message = ready.message
  if fetched.status ~= "True" then
    hs.message = ready.message .. " " .. fetched.message
  elseif healthy ~= nil and healthy.status == "False" then
    hs.message = ready.message .. " " .. healthy.message
  end
  return hs
end

-- Pipedream may refresh credentials only when they have expired. The operator then fetches them a second later.
if ready.reason == "CredentialsExpired" and fetched.status == "True" then
  hs.status = "Progressing"
  hs.message = ready.message .. " The operator is about to fetch the next ones."
  return hs
end

-- The operator repeats its attempts to fetch the first credentials; or the spec asks for another account now, and the
-- operator has not tried to fetch the credentials of this account yet.
if ready.reason == "NotFetched" or (ready.reason == "AccountOutdated" and fetched.status == "Unknown") then
  hs.status = "Progressing"
  hs.message = fetched.message
  return hs
end

-- The credentials have expired, are of another account than the spec asks for, or Pipedream says that the account
-- is gone or does not give its credentials out.
hs.status = "Degraded"
hs.message = ready.message .. " " .. fetched.message
return hs
