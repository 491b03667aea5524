-- Healthy: the Secret holds a valid token, and no user must act.
-- Progressing: the operator is working on a new object or a changed spec.
-- Degraded: a user must act, or there is no valid token.
-- Suspended: spec.suspend is true, whether or not the token is valid. The script never returns Unknown.
local hs = {}
local conditions = {}
if obj.status ~= nil and obj.status.conditions ~= nil then
  for i, condition in ipairs(obj.status.conditions) do
    conditions[condition.type] = condition
  end
end
local ready = conditions["Ready"]
local renewed = conditions["Renewed"]
local stalled = conditions["Stalled"]

if ready == nil or renewed == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  hs.status = "Progressing"
  hs.message = "The operator has not seen generation " .. tostring(obj.metadata.generation) .. " yet."
  return hs
end

-- The operator does nothing for this object. The message says whether the token is valid.
if renewed.reason == "Suspended" then
  hs.status = "Suspended"
  hs.message = ready.message .. " " .. renewed.message
  return hs
end

-- A user must act. The message says when the current token expires.
if stalled ~= nil and stalled.status == "True" then
  hs.status = "Degraded"
  hs.message = stalled.message
  return hs
end

if ready.status == "True" then
  hs.status = "Healthy"
  hs.message = ready.message
  if renewed.status ~= "True" then
    hs.message = ready.message .. " " .. renewed.message
  end
  return hs
end

-- The operator repeats attempts to issue the first token, or has not yet tried to issue a token with
-- the new scopes.
if ready.reason == "NotIssued" or (ready.reason == "TokenOutdated" and renewed.status == "Unknown") then
  hs.status = "Progressing"
  hs.message = renewed.message
  return hs
end

-- The current token has expired, was revoked, or does not match the spec.
hs.status = "Degraded"
hs.message = ready.message .. " " .. renewed.message
return hs
