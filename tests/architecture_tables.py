"""The house rules as tables: who may import whom, what nobody may call, and how large a file or a function may grow.

To change a rule, change its row. `architecture_rules.py` reads these, `test_architecture.py` holds polybot/ to them.
"""

from dataclasses import dataclass

OUTER = ("circuit", "clock", "log", "paths")  # what every room but the pure ones may import


@dataclass(frozen=True)
class Room:
    """A set of modules with one rule of what they may import; of two patterns that match, the longer one holds."""

    modules: str
    may_import: tuple[str, ...] = ()
    pure: bool = False  # values in, values out: no clock, no chance, no files, no sockets, no `async`


ROOMS = {
    "domain": Room("polybot.domain", pure=True),
    "strategies": Room("polybot.strategies", ("domain",), pure=True),
    "strategies.registry": Room("polybot.strategies.registry", ("domain", "strategies")),  # finds strategy files
    "risk": Room("polybot.risk", ("domain",), pure=True),
    "desk": Room("polybot.desk", ("domain", "risk", "strategies"), pure=True),
    "simulator": Room("polybot.venue", ("domain",), pure=True),  # matching, fill models and all that serves them
    "venue.base": Room("polybot.venue.base", ("domain", "risk")),
    "venue.paper": Room("polybot.venue.paper*", ("domain", "risk", "simulator", "venue.base", *OUTER)),
    "venue.polymarket": Room(
        "polybot.venue.polymarket",
        ("domain", "risk", "venue.base", "venue.wire", "venue.orders", "venue.accounts", *OUTER),
    ),
    "venue.orders": Room("polybot.venue.polymarket.order_*", ("domain", "venue.wire"), pure=True),
    "venue.accounts": Room("polybot.venue.polymarket.account_*", ("domain", "venue.wire"), pure=True),
    "venue.wire": Room("polybot.venue.polymarket.wire*", ("domain",)),  # bytes <-> domain, for recorded frames as well
    # The loopback exchange reads the venue's documents for itself: it and the live venue prove each other.
    "exchange": Room("polybot.exchange", ("domain", "exchange.core", "storage.tape", *OUTER)),
    "exchange.core": Room("polybot.exchange.core", ("domain",), pure=True),  # the engine, and what decides beside it
    "storage": Room("polybot.storage", ("domain", "storage.lease", "storage.tape", "switch_file", "upkeep", *OUTER)),
    "storage.lease": Room("polybot.storage.lease", ("domain",), pure=True),  # who may lead, decided
    "storage.tape": Room("polybot.storage.tape*", ("domain", *OUTER)),
    "importing": Room("polybot.importing", ("domain", "storage", "storage.tape", "venue.wire", *OUTER)),
    "learning": Room("polybot.learning", ("domain",)),
    "agents": Room(
        "polybot.agents", ("agents.base", "desk", "risk", "strategies", "domain", "venue.base", "learning", *OUTER)
    ),
    "agents.base": Room("polybot.agents.base", ("domain", *OUTER)),
    "floor": Room(
        "polybot.floor",
        (
            "floor.crash_budget",
            "floor.feed_watch",
            "floor.status",
            "floor.closing",
            "agents.base",
            "desk",
            "risk",
            "domain",
            "venue.base",
            "learning",
            "switch_file",
            *OUTER,
        ),
    ),
    "switch_file": Room("polybot.switch_file", ("domain",)),  # what the floor, and who stops it without one, both know
    "floor.status": Room("polybot.floor.status", ("domain", "circuit")),  # values for those who look
    "floor.crash_budget": Room("polybot.floor.crash_budget", ("domain",), pure=True),
    "floor.feed_watch": Room("polybot.floor.feed_watch", ("domain", "floor.status"), pure=True),
    # What ends a process that hangs; the command starts it before there is a floor.
    "floor.watchdog": Room("polybot.floor.watchdog", ("floor.status", *OUTER)),
    "floor.closing": Room("polybot.floor.closing", ("floor.watchdog",)),
    "floor.guard": Room("polybot.floor.guard"),  # also a script of its own, without polybot
    "backtest": Room(
        "polybot.backtest",
        (
            "desk",
            "strategies",
            "risk",
            "domain",
            "simulator",
            "venue.base",
            "learning",
            "storage.tape",
            "strategies.registry",
            *OUTER,
        ),
    ),
    "web": Room("polybot.web", ("floor.status", "storage", "domain", *OUTER)),
    # What is read becomes the pure rooms' own values: limits, plans, models.
    "settings": Room(
        "polybot.settings",
        (
            "domain",
            "risk",
            "desk",
            "live_settings",
            "setting_kinds",
            "strategies",
            "strategies.registry",
            "simulator",
            "paths",
        ),
    ),
    "live_settings": Room("polybot.live_settings", ("domain", "risk", "setting_kinds")),
    "setting_kinds": Room("polybot.setting_kinds"),
    "circuit": Room("polybot.circuit", ("domain",), pure=True),
    "clock": Room("polybot.clock", ("domain",)),
    "log": Room("polybot.log", ("clock", "paths")),
    "outlet": Room("polybot.outlet"),
    "paths": Room("polybot.paths"),
    # Two parts of the composition root that were worth a file.
    "recovery": Room(
        "polybot.recovery",
        ("domain", "risk", "desk", "strategies", "simulator", "floor", "floor.status", "storage", *OUTER),
    ),
    "feeding": Room(
        "polybot.feeding",
        (
            *("domain", "floor", "floor.status", "live", "page", "settings", "storage", "storage.tape"),
            *("venue.polymarket", "web", *OUTER),
        ),
    ),
    "recording": Room(
        "polybot.recording",
        ("domain", "floor", "live", "settings", "storage", "storage.tape", "venue.polymarket", *OUTER),
    ),
    "rerunning": Room(
        "polybot.rerunning",
        ("backtest", "desk", "domain", "live_settings", "risk", "settings", "storage.tape", *OUTER),
    ),
    "control": Room("polybot.control", ("floor", "house", "live_settings", "settings", "switch_file", "web")),
    "page": Room("polybot.page", ("floor.closing", "settings", "web", *OUTER)),
    "live_account": Room(
        "polybot.live_account",
        ("domain", "live_settings", "settings", "venue.base", "venue.polymarket", *OUTER),
    ),
    "doctor": Room(
        "polybot.doctor*",
        (
            *("domain", "risk", "live", "live_account", "live_settings", "runs", "settings", "storage", "switch_file"),
            *("venue.base", "venue.polymarket", "venue.wire", "venue.accounts", *OUTER),
        ),
    ),
    "runs": Room("polybot.runs", ("domain", "storage", *OUTER)),
    "house": Room(
        "polybot.house",
        (
            *("agents", "agents.base", "desk", "domain", "floor", "recovery", "risk", "strategies", "venue.base"),
            *OUTER,
        ),
    ),
    "stores": Room(
        "polybot.stores",
        ("domain", "floor.status", "recovery", "runs", "storage", "store_watch", "upkeep", "web", *OUTER),
    ),
    "upkeep": Room("polybot.upkeep", ("domain", *OUTER)),
    "store_watch": Room("polybot.store_watch", ("domain", "floor.status"), pure=True),
    "standby": Room(
        "polybot.standby", ("domain", "live_settings", "settings", "standby_switch", "storage", "web", *OUTER)
    ),
    "standby_switch": Room(
        "polybot.standby_switch",
        ("domain", "floor.status", "live_account", "live_settings", "settings", "storage", "switch_file", *OUTER),
    ),
    # Where a floor's data, time and venue come from.
    "world": Room(
        "polybot.world",
        (
            *("domain", "floor", "floor.status", "house", "recovery", "settings", "storage.tape"),
            *("venue.base", "venue.paper", *OUTER),
        ),
    ),
    "live": Room(
        "polybot.live",
        (
            *(
                "domain",
                "floor",
                "floor.feed_watch",
                "floor.status",
                "house",
                "recovery",
                "runs",
                "settings",
                "storage",
            ),
            *("live_account", "live_trading", "venue.base", "venue.paper", "venue.polymarket", *OUTER),
        ),
    ),
    "live_trading": Room(
        "polybot.live_trading",
        (
            *("account_file", "doctor", "domain", "floor.status", "house", "live_account", "live_accept", "live_books"),
            *("live_clerk", "recovery", "settings"),
            *("venue.accounts", "venue.base", "venue.orders", "venue.polymarket", *OUTER),
        ),
    ),
    "live_books": Room("polybot.live_books", ("domain", "desk", "venue.accounts"), pure=True),
    # What a person may book of what parts account and books: said, asked by file, judged, done.
    "account_talk": Room("polybot.account_talk", ("domain",), pure=True),
    "account_file": Room("polybot.account_file", ("account_talk", "domain")),
    "live_accept": Room("polybot.live_accept", ("account_talk", "domain", "desk", "venue.accounts"), pure=True),
    "live_clerk": Room(
        "polybot.live_clerk",
        (
            *("account_file", "account_talk", "desk", "domain", "floor", "live_accept"),
            *("venue.accounts", "venue.base", "venue.polymarket", *OUTER),
        ),
    ),
    "rehearsal": Room("polybot.rehearsal", ("*",)),
    "app": Room("polybot.app", ("*",)),
    "bench": Room("polybot.bench*", ("*",)),
    "chaos": Room("polybot.chaos*", ("*",)),
    "cli": Room(
        "polybot.cli",
        (
            *(
                "account_file",
                "account_talk",
                "app",
                "backtest",
                "bench",
                "chaos",
                "doctor",
                "exchange",
                "exchange.core",
                "feeding",
                "importing",
                "live_account",
                "live_settings",
                "outlet",
                "page",
                "recording",
                "rehearsal",
                "rerunning",
                "runs",
                "settings",
                "standby",
                "stores",
                "switch_file",
                "web",
            ),
            *("domain", "floor.status", "floor.watchdog", "floor.closing", "floor.guard"),
            *("storage", "storage.tape", *OUTER),
        ),
    ),
    "polybot": Room("polybot", ("cli",)),  # __init__ and __main__
}

# Every third-party library, and the rooms it may be seen in; "*" is every room that is not pure.
LIBRARIES = {
    "aiohttp": ("web", "venue.polymarket", "exchange", "bench", "page"),  # bench: a market socket to measure with
    "asyncpg": ("storage",),
    "backoff": ("storage", "venue.polymarket"),
    "eth_abi": ("exchange",),
    "eth_account": ("exchange", "rehearsal"),
    "eth_keys": ("exchange",),
    "eth_utils": ("venue.polymarket", "exchange"),
    "loguru": ("*",),
    "msgspec": (
        "*",
        "exchange.core",
        "circuit",
        "store_watch",
        *("domain", "strategies", "risk", "desk", "simulator", "floor.crash_budget", "storage.lease"),
        "floor.feed_watch",
        *("venue.orders", "venue.accounts", "live_books", "account_talk", "live_accept"),
    ),
    "numpy": ("learning", "strategies", "backtest", "bench"),
    "plotly": ("backtest",),
    "polymarket": ("venue.polymarket",),
    "prometheus_client": ("web",),
    "pyarrow": ("storage", "importing"),
    "pydantic": (
        "settings",
        "setting_kinds",
        "live_settings",
        "strategies",
        "rehearsal",
        "risk",
    ),  # rehearsal: a secret is a setting
    "pydantic_settings": ("settings", "setting_kinds"),
    "redis": ("storage",),
    "rich": ("cli", "backtest", "bench", "web"),  # web: the text of `polybot status` stands beside its JSON
    "sqlite3": ("storage",),  # in the standard library, and as much a storage engine as the others
    "typer": ("cli",),
    "uvloop": ("app", "cli", "bench"),
    "zstandard": ("storage", "storage.tape", "importing"),
}

# Modules of the standard library that no pure room imports: they reach the clock, the machine or other threads.
IMPURE = """
    asyncio concurrent ctypes fcntl glob http io logging multiprocessing os pathlib queue secrets select selectors
    shutil signal socket ssl subprocess tempfile threading time urllib uuid
""".split()


@dataclass(frozen=True)
class Ban:
    """Names, as patterns over the dotted name with import aliases resolved, and the rooms that are let off."""

    names: tuple[str, ...]
    why: str
    remedy: str
    allowed_in: tuple[str, ...] = ()
    except_for: tuple[str, ...] = ()
    only_pure: bool = False


BANS = (
    Ban(
        (
            *("time.time*", "time.monotonic*", "time.localtime", "time.gmtime"),
            *("datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today"),
        ),
        "asks what time it is",
        "take `at` as an argument, or a polybot.clock.Clock at the edge",
        allowed_in=("clock",),
    ),
    Ban(
        ("time.perf_counter*", "time.process_time*", "time.thread_time*"),
        "measures time",
        "measure in polybot/bench or polybot/cli, or take a Clock",
        allowed_in=("clock", "bench", "chaos", "cli"),
    ),
    Ban(
        ("random.*", "numpy.random.*"),
        "draws from a source of chance that no seed governs",
        "take a seeded random.Random (or numpy Generator) as an argument",
        except_for=("random.Random", "numpy.random.Generator", "numpy.random.default_rng"),
    ),
    Ban(
        ("secrets.*", "uuid.uuid*", "os.urandom"),
        "differs from run to run",
        "take ids from counters in state; what must be unguessable or unlike any other belongs to storage or web",
        allowed_in=("storage", "web"),
    ),
    Ban(
        ("eval", "exec", "pickle.*", "marshal.*", "shelve.*"),
        "runs what it reads",
        "use msgspec for bytes, a table for dispatch",
    ),
    Ban(
        ("print",), "prints", "log through polybot.log, or return the text to polybot/cli", allowed_in=("cli", "bench")
    ),
    Ban(("open", "input"), "reads the world in a pure room", "take the value as an argument", only_pure=True),
    Ban(
        ("hash", "id"),
        "depends on addresses or PYTHONHASHSEED",
        "order by an explicit number of the value's own",
        only_pure=True,
    ),
)

MONEY_FILES = ("polybot/domain/units.py", "polybot/domain/ledger.py", "polybot/domain/fees.py")
BROAD_EXCEPT_FILES = (
    "polybot/floor/supervisor.py",  # D10
    "polybot/chaos/life.py",  # what a killed process still raises while it is thrown away
)
BROAD = ("Exception", "BaseException")

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
# "polybot/x/y.py" or "polybot/x/y.py:function" -> why it is better long. An entry no longer needed fails.
LONGER_FOR_A_REASON: dict[str, str] = {}
