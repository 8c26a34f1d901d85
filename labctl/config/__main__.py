"""`python -m labctl.config > config/lab.schema.json`: the JSON schema of lab files, for editors."""

import json

from labctl.config import json_schema

print(json.dumps(json_schema(), indent=2))
