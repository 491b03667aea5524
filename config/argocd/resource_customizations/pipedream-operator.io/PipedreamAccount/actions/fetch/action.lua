-- Has the credentials fetched now. Each new value of the annotation is a new request.
local os = require("os")
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["pipedream-operator.io/renew-request"] = os.date("!%Y-%m-%dT%XZ")
return obj
