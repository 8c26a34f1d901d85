"""`python -m courses > config/course.schema.json`: the JSON schema of course files, for editors."""

import json

from courses.model import json_schema

print(json.dumps(json_schema(), indent=2))
