/* The undo log as the engine sees it: from checkpoint to checkpoint; see undo.h. */
#include <string.h>

#include "base/hidden.h"
#include "base/memory.h"
#include "base/message.h"
#include "engine.h"
#include "read_aside.h"
#include "undo_state.h"

/* Where the committed checkpoint's records begin. False: there is no checkpoint, or it says nothing. */
static bool committed_position(struct store *store, struct manifest_undo *position)
{
	struct manifest_reader reader = {0};
	uint32_t kind, length;
	const void *payload;
	reader.bytes = rt_store_manifest(store, &reader.length);
	while (reader.bytes != NULL && rt_manifest_next(&reader, &kind, &payload, &length) == 1)
		if (kind == MANIFEST_UNDO && length == sizeof(*position)) {
			memcpy(position, payload, sizeof(*position));
			return position->id != 0;
		}
	return false;
}

struct rt_undo *rt_undo_start(struct engine *engine)
{
	struct rt_undo *undo = rt_memory_map(sizeof(*undo));
	char *stack = rt_memory_map(RT_READ_ASIDE_STACK);
	if (undo == NULL || stack == NULL)
		return NULL;
	undo->aside_stack = stack;
	rt_seen_start_over(&undo->seen);
	int result = rt_undo_log_open(rt_root.directory, rt_store_persist_kind(engine->store), rt_hidden_floor(),
				      &undo->log);
	if (result == 0) {
		rt_hide_in_place(undo->log.files[0].fd);
		rt_hide_in_place(undo->log.files[1].fd);
		undo->active = committed_position(engine->store, &undo->captured);
		result = undo->active ? rt_undo_log_continue(&undo->log, &undo->captured)
				      : rt_undo_log_reset(&undo->log);
	}
	if (result == 0)
		return undo;
	rt_say("%s: %s: a restore will not undo what is overwritten or removed in files", rt_root.directory,
	       rt_error_text(result));
	return NULL;
}

int rt_undo_look(const struct engine *engine)
{
	const struct rt_undo *undo = engine->undo;
	int result = 0;
	for (unsigned i = 0; undo != NULL && i < 2 && result == 0; i++)
		result = rt_persist_look(&undo->log.files[i]);
	return result;
}

int rt_undo_start_over(struct engine *engine)
{
	struct rt_undo *undo = engine->undo;
	if (undo == NULL)
		return 0;
	/* With SIGBUS unblocked: the new files may be cut, too. */
	rt_lock(&undo->lock);
	undo->active = false;
	undo->told = false;
	rt_seen_start_over(&undo->seen);
	int result = rt_undo_log_start_over(&undo->log);
	rt_unlock(&undo->lock);
	return result;
}

void rt_undo_give_up(struct engine *engine)
{
	if (engine->undo != NULL)
		__atomic_store_n(&engine->undo->active, false, __ATOMIC_RELEASE);
}

void rt_undo_capture(struct engine *engine, struct manifest_writer *writer)
{
	struct rt_undo *undo = engine->undo;
	if (undo == NULL)
		return;
	undo->captured = rt_undo_log_turn(&undo->log);
	undo->active = true;
	undo->asked = false;
	rt_seen_start_over(&undo->seen);
	rt_manifest_add(writer, MANIFEST_UNDO, &undo->captured, sizeof(undo->captured));
}

int rt_undo_before_commit(struct engine *engine)
{
	struct rt_undo *undo = engine->undo;
	/* Nothing to wait for where the page cache is enough. */
	if (undo == NULL || undo->log.files[0].kind == PERSIST_PROCESS)
		return 0;
	rt_lock(&undo->lock);
	int result = rt_undo_log_drain(&undo->log);
	rt_unlock(&undo->lock);
	return result;
}

void rt_undo_committed(struct engine *engine)
{
	if (engine->undo != NULL)
		rt_undo_log_committed(&engine->undo->log, &engine->undo->captured);
}
