/* The first code of the image to run in a restored process; see resume.h for its rules. */
#include "resume.h"

#include <errno.h>

#include "base/fail.h"
#include "base/hidden.h"
#include "base/memory.h"
#include "base/message.h"
#include "base/sys.h"
#include "crash.h"
#include "engine.h"
#include "layout.h"
#include "start.h"
#include "threads/thread.h"

/* What the restored memory says of the dead process's runtime is void. */
static void forget_dead_engine(const struct rt_resume *resume)
{
	rt_root.engine = rt_root.stopper = NULL;
	rt_root.wanted = 0;
	rt_root.leaving_restorer = resume->thread_count;
	rt_hidden_reset();
	rt_hide_in_place(resume->lock_fd);
	int size = rt_thread_table_size();
	for (int i = 0; i < size; i++)
		rt_thread_at(i)->parked_round = 0;
}

/* Takes the pages of [start, end) as written. */
static void touch(void *start, void *end)
{
	uintptr_t page = RT_PAGE_ALIGN_DOWN((uintptr_t)start);
	for (; page < (uintptr_t)end; page += RT_PAGE_SIZE) {
		volatile char *byte = (volatile char *)page;
		*byte = *byte;
	}
}

/* What the resume itself has changed since the pages were loaded. */
static void touch_own_data(void)
{
	extern char __bss_start[] __attribute__((visibility("hidden"))), _end[] __attribute__((visibility("hidden")));
	touch(__bss_start, _end);
	touch(rt_thread_at(0), rt_thread_at(rt_thread_table_size()));
}

static int protect_again(struct engine *engine, const char **step)
{
	*step = "mappings";
	int result = rt_regions_walk(engine->maps_fd, &engine->captured_regions, &engine->regions);
	if (result < 0)
		return result;
	/* Memory is what the store has: nothing is dirty yet. */
	*step = "tracking";
	if ((result = rt_track_forget_all(engine->tracker, &engine->regions)) < 0 ||
	    (result = rt_fail(RT_FAIL_RESUME_TRACKED)) < 0)
		return result;
	touch_own_data();
	struct region_table captured = engine->captured_regions;
	engine->captured_regions = engine->regions;
	engine->regions = captured;
	rt_root.engine = rt_root.stopper = engine;
	rt_crash_install();
	__atomic_add_fetch(&rt_root.incarnation, 1, __ATOMIC_ACQ_REL);
	if (rt_advice_locked_future() != 0)
		rt_syscall(SYS_mlockall, rt_advice_locked_future());
	*step = "checkpoint thread";
	if ((result = rt_checkpoint_start(engine)) < 0)
		return result;
	return rt_fail(RT_FAIL_RESUME_DONE);
}

int rt_resume(struct rt_resume *resume)
{
	struct store *store;
	/* What it points to was the dead process's. */
	rt_fail_settings = NULL;
	struct engine *engine = rt_engine_make();
	int holder;
	resume->problem = "restorer and library are of different versions";
	if (resume->version != RT_RESUME_VERSION)
		return -EPROTO;
	forget_dead_engine(resume);
	rt_message_accept(resume->stderr_device, resume->stderr_inode);
	rt_options.track = resume->track;
	resume->problem = "memory";
	int result = rt_fail_set(&resume->fail);
	if (result < 0)
		return result;
	resume->problem = "beginning";
	if ((result = rt_fail(RT_FAIL_RESUME_BEGIN)) < 0)
		return result;
	resume->problem = "opening the store";
	if ((result = rt_store_open(rt_root.directory, true, rt_hidden_floor(), &store, &holder)) < 0 ||
	    (result = rt_fail(RT_FAIL_RESUME_STORE)) < 0)
		return result;
	resume->problem = "naming the store's new owner";
	if ((result = rt_store_set_owner(store, rt_root.pid, rt_process_start_time())) < 0 ||
	    (result = rt_fail(RT_FAIL_RESUME_OWNED)) < 0 ||
	    (result = rt_engine_open(engine, store, &resume->problem)) < 0 ||
	    (result = rt_fail(RT_FAIL_RESUME_ENGINE)) < 0)
		return result;
	resume->problem = "locking files again";
	size_t length;
	const void *manifest = rt_store_manifest(store, &length);
	if ((result = rt_descriptors_lock_again(manifest, length)) < 0)
		return result;
	rt_descriptors_own_again(manifest, length);
	engine->main_is_ending = resume->main_has_exited;
	return protect_again(engine, &resume->problem);
}
