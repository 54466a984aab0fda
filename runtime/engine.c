/* Opening the engine: the same at start and at resume. Raw system calls only. */
#include "engine.h"

#include <errno.h>

#include "base/hidden.h"
#include "base/memory.h"
#include "base/sys.h"
#include "files/undo.h"
#include "life/crash.h"
#include "life/start.h"
#include "threads/thread.h"

#define MAX_STORE_DESCRIPTORS 16

static int open_hidden(const char *path, int flags)
{
	return rt_hide(rt_sys_openat(AT_FDCWD, path, flags | O_CLOEXEC, 0));
}

static int open_descriptors(struct engine *engine, const char **step)
{
	*step = "/proc/self";
	engine->task_dir = open_hidden("/proc/self/task", O_RDONLY | O_DIRECTORY);
	engine->status_fd = open_hidden("/proc/self/status", O_RDONLY);
	engine->timers_fd = open_hidden("/proc/self/timers", O_RDONLY);
	engine->oom_fd = open_hidden("/proc/self/oom_score_adj", O_RDONLY);
	engine->maps_fd = open_hidden("/proc/self/maps", O_RDONLY);
	engine->smaps_fd = open_hidden("/proc/self/smaps", O_RDONLY);
	engine->pagemap_fd = open_hidden("/proc/self/pagemap", O_RDONLY);
	engine->memory_fd = open_hidden("/proc/self/mem", O_RDONLY);
	int results[] = {engine->task_dir, engine->status_fd, engine->maps_fd, engine->pagemap_fd, engine->memory_fd};
	for (unsigned i = 0; i < sizeof(results) / sizeof(results[0]); i++)
		if (results[i] < 0)
			return results[i];
	*step = rt_track_description(engine->options.track);
	int result = rt_track_open_control(engine->options.track, &engine->control_fd);
	if (result < 0 || engine->control_fd < 0)
		return result;
	engine->control_fd = rt_hide(engine->control_fd);
	return engine->control_fd < 0 ? engine->control_fd : 0;
}

static void hide_store(struct engine *engine)
{
	int fds[MAX_STORE_DESCRIPTORS];
	size_t count = rt_store_descriptors(engine->store, fds, MAX_STORE_DESCRIPTORS);
	for (size_t i = 0; i < count && i < MAX_STORE_DESCRIPTORS; i++)
		rt_hide_in_place(fds[i]);
}

static int open_statistics(void)
{
	return rt_hide(rt_store_open_file(rt_root.directory, "statistics", O_RDWR | O_CREAT, 0));
}

/* `*fd` now leads to `path`. It keeps its number, unless the program's limit has come down below that. */
static int reopen(int *fd, const char *path)
{
	int fresh = rt_sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (fresh < 0)
		return fresh;
	int result = (int)rt_syscall(SYS_dup3, fresh, *fd, O_CLOEXEC);
	if (result != -EBADF) {
		rt_sys_close(fresh);
		return result < 0 ? result : 0;
	}
	fresh = rt_hide(fresh);
	if (fresh < 0)
		return fresh;
	rt_unhide(*fd);
	rt_sys_close(*fd);
	*fd = fresh;
	return 0;
}

/* A checkpoint thread in place of one that has ended: the directories were that one's. */
static int reopen_own_directories(struct engine *engine)
{
	int result = reopen(&engine->fd_dir, "/proc/thread-self/fd");
	if (result == 0)
		result = reopen(&engine->fdinfo_dir, "/proc/thread-self/fdinfo");
	rt_descriptors_set_directories(engine->descriptors, engine->fd_dir, engine->fdinfo_dir);
	return result;
}

/* Through the calling thread's own directories: those of the process are empty once the main thread
 * has exited. */
int rt_engine_open_descriptor_table(struct engine *engine)
{
	if (engine->descriptors != NULL)
		return reopen_own_directories(engine);
	engine->fd_dir = open_hidden("/proc/thread-self/fd", O_RDONLY | O_DIRECTORY);
	engine->fdinfo_dir = open_hidden("/proc/thread-self/fdinfo", O_RDONLY | O_DIRECTORY);
	if (engine->fd_dir < 0 || engine->fdinfo_dir < 0)
		return engine->fd_dir < 0 ? engine->fd_dir : engine->fdinfo_dir;
	engine->descriptors = rt_descriptors_open(engine->fd_dir, engine->fdinfo_dir, rt_is_hidden);
	if (engine->descriptors == NULL)
		return -ENOMEM;
	rt_descriptors_set_regions(engine->descriptors, &engine->regions);
	return 0;
}

struct engine *rt_engine_make(void)
{
	struct engine *engine = rt_memory_map_engine(sizeof(*engine));
	if (engine == NULL)
		return NULL;
	engine->copy_buffer = rt_memory_map(RT_PAGE_SIZE);
	engine->straggles = rt_memory_map(RT_MAX_THREADS);
	return engine->copy_buffer != NULL && engine->straggles != NULL ? engine : NULL;
}

int rt_engine_open(struct engine *engine, struct store *store, const char **step)
{
	*step = "memory";
	if (engine == NULL)
		return -ENOMEM;
	engine->store = store;
	engine->options = rt_options;
	int result = open_descriptors(engine, step);
	if (result < 0)
		return result;
	hide_store(engine);
	engine->statistics_fd = open_statistics();
	*step = "the record of crashes";
	engine->owner_start = rt_process_start_time();
	if ((result = rt_crash_open(engine)) < 0)
		return result;
	*step = "facts about the process";
	if ((result = rt_capture_facts(engine)) < 0)
		return result;
	*step = "tracker";
	struct rt_track_files files = {engine->pagemap_fd, engine->memory_fd, engine->control_fd};
	if ((result = rt_track_open(engine->options.track, &files, &engine->tracker)) < 0)
		return result;
	engine->statistics.track = engine->options.track;
	engine->undo = rt_undo_start(engine);
	return 0;
}
