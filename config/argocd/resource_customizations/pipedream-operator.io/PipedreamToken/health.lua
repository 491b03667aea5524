-- Healthy: the Secret holds a good token, and no person is needed.
-- Progressing: the operator is at work on what was just asked for.
-- Degraded: a person is needed, or a token was lost. Suspended and Unknown: never.
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

-- Only a person can help. The message says until when the current token is good.
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

-- The first token, or the first one of new scopes, is still to come: the one is tried
-- for again and again, the other waits for its first try.
if ready.reason == "NotIssued" or (ready.reason == "TokenOutdated" and renewed.status == "Unknown") then
  hs.status = "Progressing"
  hs.message = renewed.message
  return hs
end

-- The current token has expired, was revoked, or is not what is asked for now.
hs.status = "Degraded"
hs.message = ready.message .. " " .. renewed.message
return hs
