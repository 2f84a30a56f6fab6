import sys

from agent.modules import use_modules

use_modules()

from agent.cli import main  # noqa: E402  this import and all that follow come out of one file

sys.exit(main())
