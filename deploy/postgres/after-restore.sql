-- Once after every restore of the database to an earlier moment, before anything of itsm starts:
--
--     psql "$OWNER_URL" -v ON_ERROR_STOP=1 -f deploy/postgres/after-restore.sql
--
-- It gives every feed a new incarnation. Positions after that moment were given out before and are given again
-- to other events: whoever outside holds one of them is told so, and does not read on across the gap. The
-- services' own consumers were restored to the same moment as the feeds they follow, so they take the new
-- incarnation along and go on where they stand; nothing is skipped and nothing is applied twice.
do $$
declare
    services constant text[] :=
        array ['directory', 'catalog', 'alert', 'incident', 'change', 'sla', 'notification'];
    source text;
    follower text;
    incarnation uuid;
begin
    foreach source in array services loop
        incarnation := gen_random_uuid();
        execute format('update %I.lease set incarnation = $1 where name = ''relay''', source) using incarnation;
        foreach follower in array services loop
            execute format('update %I.lease set incarnation = $1 where name = ''consumer:'' || $2', follower)
                using incarnation, source;
        end loop;
    end loop;
end
$$;
