"""The bridge as its next release may be: with one more migration and another version, and else as this one.

    python tests/cluster/next_release.py run -c fleet2mqtt.yaml

Its migration does what one may do while nodes of this release work: it adds tables, columns and indexes.
"""

import sys

import fleet2mqtt

VERSION = "99.0.0"
STATEMENTS = """
ALTER TABLE event ADD COLUMN site text NOT NULL DEFAULT '';
ALTER TABLE pending ADD COLUMN attempts integer NOT NULL DEFAULT 0;
ALTER TABLE unit ADD COLUMN note text;
ALTER TABLE node ADD COLUMN zone text NOT NULL DEFAULT 'none';
ALTER TABLE inbox ADD COLUMN sender text;
ALTER TABLE command ADD COLUMN sender text;
ALTER TABLE command_reply ADD COLUMN at timestamptz DEFAULT clock_timestamp();
CREATE INDEX ON event (device, seq);
CREATE TABLE site (name text PRIMARY KEY);
"""

if __name__ == "__main__":
    fleet2mqtt.__version__ = VERSION  # which modules that are imported from here on have
    from fleet2mqtt.cli.parser import main
    from fleet2mqtt.outbox.postgres import migrations

    following = migrations.Migration(statements=STATEMENTS, oldest=migrations.MIGRATIONS[-1].oldest)
    migrations.migrate.__defaults__ = ((*migrations.MIGRATIONS, following),)
    sys.exit(main())
