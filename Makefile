# pg_concord: the extension (this Makefile) and its output plugin (decoder/).
#
# The version number stands in META.json alone; the control file and the
# install script's name come from it.

# Targets that must work where PostgreSQL is not installed yet, or that pgxs.mk
# has another idea of; they are not mixed with others in one command.
RUN_SCRIPTS = check check-matrix check-sanitize demo demo-stop lint packages
ifneq ($(filter $(RUN_SCRIPTS),$(MAKECMDGOALS)),)

check:
	@test/check

check-matrix:
	@test/matrix/run

check-sanitize:
	@test/sanitize/run

demo:
	@test/demo/run

demo-stop:
	@test/demo/stop

lint:
	@test/lint/run

packages:
	@test/packages

.PHONY: $(RUN_SCRIPTS)

else

EXTENSION = extension/pg_concord
EXTVERSION := $(shell sed -n 's/^ *"version": *"\([0-9.]*\)",* *$$/\1/p' META.json | head -n 1)

MODULE_big = pg_concord
OBJS = $(sort $(patsubst %.c,%.o,$(wildcard extension/*.c extension/*/*.c)))

SQL_PARTS = $(sort $(wildcard extension/sql/[0-9]*.sql))
SQL_BUILT = extension/sql/pg_concord--$(EXTVERSION).sql
CONTROL_BUILT = extension/pg_concord.control
DATA_built = $(SQL_BUILT)
DATA = $(wildcard extension/sql/pg_concord--*--*.sql)

# libxml2 reads OData metadata
XML2_CONFIG ?= xml2-config
PG_CPPFLAGS = $(shell $(XML2_CONFIG) --cflags) -I$(CURDIR)/extension -I$(CURDIR) -DCONCORD_VERSION='"$(EXTVERSION)"'
PG_CFLAGS = -Wall -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare \
	-Wno-missing-field-initializers
SHLIB_LINK = $(shell $(XML2_CONFIG) --libs) -lcurl -lcrypto -lpthread
EXTRA_CLEAN = $(SQL_BUILT) $(CONTROL_BUILT)

# make installcheck: against a server that runs with the library preloaded.
REGRESS = $(sort $(notdir $(basename $(wildcard sql/*.sql))))
REGRESS_OPTS = --load-extension=pg_concord --dbname=concord_regression
ISOLATION = $(sort $(notdir $(basename $(wildcard test/specs/*.spec))))
ISOLATION_OPTS = --load-extension=pg_concord --inputdir=test --dbname=concord_isolation

PG_CONFIG ?= pg_config
PGXS := $(wildcard $(shell $(PG_CONFIG) --pgxs 2>/dev/null))
ifeq ($(PGXS),)
$(error PostgreSQL's development files are missing: run "make packages", or set PG_CONFIG)
endif
include $(PGXS)

# PGXS makes no dependency files by default: any header rebuilds everything.
$(OBJS): $(wildcard extension/*/*.h decoder/protocol.h) Makefile META.json

all: decoder-all
install: decoder-install
uninstall: decoder-uninstall
clean: decoder-clean

decoder-all decoder-install decoder-uninstall decoder-clean: decoder-%:
	$(MAKE) -C decoder PG_CONFIG=$(PG_CONFIG) $*

$(SQL_BUILT): $(SQL_PARTS) META.json
	cat $(SQL_PARTS) > $@

$(CONTROL_BUILT): extension/pg_concord.control.in META.json
	sed 's/@VERSION@/$(EXTVERSION)/' $< > $@

.PHONY: decoder-all decoder-install decoder-uninstall decoder-clean

endif
