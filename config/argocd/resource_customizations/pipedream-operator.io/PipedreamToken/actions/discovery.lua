local actions = {}
actions["renew"] = {["disabled"] = false}
return actions
