"""`python -m kronforce_agent`."""

import os

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

from kronforce_agent.main import main

raise SystemExit(main())
