from tests.serving.fixtures import *  # noqa: F403
