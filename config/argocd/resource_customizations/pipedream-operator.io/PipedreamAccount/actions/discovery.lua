local actions = {}
actions["fetch"] = {["disabled"] = false}
return actions
