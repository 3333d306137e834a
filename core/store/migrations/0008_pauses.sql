-- oldest: 8
-- Since when nothing is taken from a queue, 0 if it is not paused; who wanted
-- that, and why.
ALTER TABLE queues ADD COLUMN paused <int> NOT NULL DEFAULT 0;
ALTER TABLE queues ADD COLUMN paused_by <text> NOT NULL DEFAULT '';
ALTER TABLE queues ADD COLUMN pause_reason <text> NOT NULL DEFAULT '';
