"""The statements that make the tables; names are filled in by `Layout.format`."""

STORES = """
CREATE TABLE IF NOT EXISTS {stores} (
    name text PRIMARY KEY, format integer NOT NULL, halfvec boolean NOT NULL, language text NOT NULL,
    generation integer NOT NULL DEFAULT 0, fingerprint jsonb, next jsonb
)"""
COUNTS = """
CREATE TABLE IF NOT EXISTS {counts} (
    store text, namespace text COLLATE "C", documents bigint NOT NULL, words bigint NOT NULL,
    PRIMARY KEY (store, namespace)
) WITH (fillfactor = 50)"""
# One function for INSERT, UPDATE and DELETE: the sums of what came and of what went.
COUNT = """
CREATE OR REPLACE FUNCTION {count}() RETURNS trigger LANGUAGE plpgsql AS $body$
DECLARE one record;
BEGIN
    IF TG_OP = 'INSERT' THEN
        FOR one IN SELECT namespace, count(*) AS n, sum(length) AS w FROM came GROUP BY 1 ORDER BY 1 LOOP
            INSERT INTO {counts} AS c VALUES (TG_ARGV[0], one.namespace, one.n, one.w) ON CONFLICT (store, namespace)
            DO UPDATE SET documents = c.documents + one.n, words = c.words + one.w;
        END LOOP;
    ELSIF TG_OP = 'DELETE' THEN
        FOR one IN SELECT namespace, count(*) AS n, sum(length) AS w FROM went GROUP BY 1 ORDER BY 1 LOOP
            UPDATE {counts} SET documents = documents - one.n, words = words - one.w
            WHERE store = TG_ARGV[0] AND namespace = one.namespace;
        END LOOP;
    ELSE
        FOR one IN SELECT namespace, sum(w) AS w FROM (
            SELECT namespace, length AS w FROM came UNION ALL SELECT namespace, -length FROM went
        ) AS both_ GROUP BY 1 HAVING sum(w) <> 0 ORDER BY 1 LOOP
            UPDATE {counts} SET words = words + one.w WHERE store = TG_ARGV[0] AND namespace = one.namespace;
        END LOOP;
    END IF;
    RETURN NULL;
END $body$"""
EVENTS = {
    "INSERT": "REFERENCING NEW TABLE AS came",
    "UPDATE": "REFERENCING NEW TABLE AS came OLD TABLE AS went",
    "DELETE": "REFERENCING OLD TABLE AS went",
}
# `metadata` is returned to callers, `facts` is used by filters: jsonb rewrites numbers and cannot store NUL.
# Storage MAIN keeps the columns of searches in the row as long as they fit, and moves the content out first.
TABLE = """
CREATE TABLE {table} (
    namespace text COLLATE "C" NOT NULL, id text COLLATE "C" NOT NULL, kind smallint NOT NULL, content text NOT NULL,
    metadata text NOT NULL, facts jsonb NOT NULL, words tsvector NOT NULL,
    length integer NOT NULL, version uuid NOT NULL, embedding {vector}({dimensions}) NOT NULL,
    PRIMARY KEY (namespace, id)
)"""
STORAGE = """
ALTER TABLE {table} ALTER facts SET STORAGE MAIN, ALTER words SET STORAGE MAIN, ALTER embedding SET STORAGE MAIN"""
WORDS = "CREATE INDEX {words} ON {table} USING gin (words)"
FACTS = "CREATE INDEX {facts} ON {table} USING gin (facts jsonb_path_ops)"
