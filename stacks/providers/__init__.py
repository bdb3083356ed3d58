"""Resource providers in Python, attached to the engine (PULUMI_DEBUG_PROVIDERS).

pulumi-docker's own plugin is no option where nothing can be downloaded at run time, so its types
are served here, through Docker's API; and the types of ours beside them. `servicer` speaks the
engine's protocol, each other module is one kind of thing.
"""
