/* Reading and checking the checkpoint; see image.h. */
#include "image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sys.h"
#include "common/report.h"
#include "descriptor/descriptor.h"
#include "layout.h"

#define PATH_LIMIT 4096
#define DESCRIPTOR_LIMIT (1 << 30)
#define GROUP_LIMIT 65536 /* the kernel's */
#define SIGNAL_LIMIT 64
#define TIMER_LIMIT (1 << 24)          /* where they must be counted up to; more take minutes */
#define PR_TIMER_CREATE_RESTORE_IDS 77 /* Linux 6.15 */
#define RESTORE_IDS_GET 2

const void *image_next(const struct image *image, size_t *cursor, enum manifest_kind kind, uint32_t *length)
{
	struct manifest_reader reader = {image->manifest, image->manifest_length, *cursor};
	uint32_t found;
	const void *payload;
	while (rt_manifest_next(&reader, &found, &payload, length) == 1) {
		*cursor = reader.next;
		if (found == (uint32_t)kind)
			return payload;
	}
	return NULL;
}

const char *image_region_path(const struct manifest_region *region, uint32_t length)
{
	if (region->path_length == 0)
		return "";
	return rt_manifest_string(region, length, sizeof(*region), region->path_length);
}

static bool region_is_sane(const struct manifest_region *region, uint32_t length, uint64_t *previous_end)
{
	if (length < sizeof(*region) || region->start >= region->end || region->end > RT_USER_END ||
	    (region->start | region->end) % RT_PAGE_SIZE != 0 || region->start < *previous_end ||
	    region->offset % RT_PAGE_SIZE != 0 || region->offset > INT64_MAX - (region->end - region->start) ||
	    region->kind < REGION_ANONYMOUS || region->kind > REGION_FILE_MEMORY || region->page_shift > 40 ||
	    (region->prot & ~(uint32_t)(PROT_READ | PROT_WRITE | PROT_EXEC)))
		return false;
	if (region->end > RT_AREA_BASE && region->start < RT_RESTORER_END)
		return false;
	*previous_end = region->end;
	const char *path = image_region_path(region, length);
	return path != NULL && strlen(path) < PATH_LIMIT;
}

static bool advice_is_sane(const struct manifest_advice *advice)
{
	return advice->start < advice->end && advice->end <= RT_USER_END &&
	       (advice->start | advice->end) % RT_PAGE_SIZE == 0 &&
	       (advice->end <= RT_AREA_BASE || advice->start >= RT_RESTORER_END);
}

static bool thread_is_sane(const struct manifest_thread *thread, uint32_t length)
{
	return length == sizeof(*thread) && thread->tid > 0 && thread->context < RT_USER_END &&
	       thread->tls_base < RT_USER_END && thread->rseq_address < RT_USER_END &&
	       memchr(thread->name, '\0', sizeof(thread->name)) != NULL;
}

static bool take_path(struct image *image, const struct manifest_path *path, uint32_t length)
{
	if (length < sizeof(*path))
		return false;
	const char *text = rt_manifest_string(path, length, sizeof(*path), path->length);
	if (text == NULL || strlen(text) >= PATH_LIMIT)
		return false;
	if (path->role == PATH_CWD)
		image->cwd = text;
	if (path->role == PATH_CWD_DELETED) {
		image->cwd = text;
		image->cwd_deleted = true;
	}
	if (path->role == PATH_EXECUTABLE)
		image->executable = text;
	return true;
}

static bool file_bytes_are_sane(const struct manifest_file_bytes *record, uint32_t length)
{
	if (length < sizeof(*record))
		return false;
	const char *path = rt_manifest_string(record, length, sizeof(*record), record->path_length);
	return path != NULL && path[0] == '/' && record->offset <= INT64_MAX - UINT32_MAX &&
	       record->length == length - sizeof(*record) - record->path_length;
}

static bool process_is_sane(const struct manifest_process *process)
{
	return process->vdso_start <= process->vdso_end && process->vdso_end <= RT_USER_END &&
	       (process->vdso_start | process->vdso_end) % RT_PAGE_SIZE == 0;
}

/* What waiting for it gives: one that is said to have been stopped would stop again, for good. */
static bool child_is_sane(const struct manifest_child *child)
{
	int signal = WTERMSIG(child->status);
	return child->pid > 0 && (!child->ended || WIFEXITED(child->status) ||
				  (WIFSIGNALED(child->status) && signal <= SIGNAL_LIMIT && signal != SIGSTOP &&
				   signal != SIGTSTP && signal != SIGTTIN && signal != SIGTTOU));
}

static bool timer_is_sane(const struct manifest_posix_timer *timer)
{
	return timer->id >= 0 &&
	       (timer->id <= TIMER_LIMIT || prctl(PR_TIMER_CREATE_RESTORE_IDS, RESTORE_IDS_GET, 0, 0, 0) >= 0);
}

static bool processor_is_sane(const struct manifest_processor *processor)
{
	return memchr(processor->name, '\0', sizeof(processor->name)) != NULL;
}

static bool take_descriptor(struct image *image, const void *payload, uint32_t length)
{
	struct manifest_descriptor record;
	if (length < sizeof(record))
		return false;
	memcpy(&record, payload, sizeof(record));
	if (record.number > image->highest_descriptor && !record.in_flight)
		image->highest_descriptor = record.number;
	return record.number >= 0 && record.number < DESCRIPTOR_LIMIT;
}

/* Records of one length: that, and where they are counted. */
static bool take_fixed(struct image *image, uint32_t kind, uint32_t length)
{
	const struct {
		uint32_t kind, length;
		uint32_t *count; /* NULL: not counted */
	} kinds[] = {
		{MANIFEST_SIGNAL, sizeof(struct manifest_signal), &image->signal_count},
		{MANIFEST_TIMER, sizeof(struct manifest_timer), &image->timer_count},
		{MANIFEST_LIMIT, sizeof(struct manifest_limit), &image->limit_count},
		{MANIFEST_QUEUED_SIGNAL, sizeof(struct manifest_queued_signal), &image->queued_signal_count},
		{MANIFEST_OWNER, sizeof(struct manifest_owner), NULL},
		{MANIFEST_LOCK, sizeof(struct manifest_lock), NULL},
	};
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (kinds[i].kind != kind)
			continue;
		if (kinds[i].count != NULL)
			++*kinds[i].count;
		return length == kinds[i].length;
	}
	return false;
}

/* Those of one length whose contents are checked. */
static bool take_checked(struct image *image, uint32_t kind, const void *payload, uint32_t length)
{
	switch (kind) {
	case MANIFEST_PROCESS:
		if (image->process != NULL)
			return false;
		image->process = payload;
		return length == sizeof(struct manifest_process) && process_is_sane(payload);
	case MANIFEST_ADVICE:
		image->advice_count++;
		return length == sizeof(struct manifest_advice) && advice_is_sane(payload);
	case MANIFEST_PROCESSOR:
		image->processor = payload;
		return length == sizeof(*image->processor) && processor_is_sane(payload);
	case MANIFEST_SEGMENT:
		return length == sizeof(struct manifest_segment) &&
		       ((const struct manifest_segment *)payload)->size <= RT_USER_END;
	case MANIFEST_CHILD:
		image->child_count++;
		return length == sizeof(struct manifest_child) && child_is_sane(payload);
	case MANIFEST_POSIX_TIMER:
		image->posix_timer_count++;
		return length == sizeof(struct manifest_posix_timer) && timer_is_sane(payload);
	case MANIFEST_UNDO:
		if (length != sizeof(image->undo))
			return false;
		memcpy(&image->undo, payload, sizeof(image->undo));
		return true;
	default: return take_fixed(image, kind, length);
	}
}

/* Checks one record and takes note of it. */
static bool take_record(struct image *image, uint32_t kind, const void *payload, uint32_t length,
			uint64_t *previous_end)
{
	switch (kind) {
	case MANIFEST_REGION: image->region_count++; return region_is_sane(payload, length, previous_end);
	case MANIFEST_THREAD: image->thread_count++; return thread_is_sane(payload, length);
	case MANIFEST_FILE_BYTES: return file_bytes_are_sane(payload, length);
	case MANIFEST_GROUPS:
		image->groups = payload;
		image->group_count = length / sizeof(uint32_t);
		return length % sizeof(uint32_t) == 0 && image->group_count <= GROUP_LIMIT;
	case MANIFEST_AUXV:
		image->auxv = payload;
		image->auxv_length = length;
		return length % 16 == 0 && length <= 1024;
	case MANIFEST_PATH: return take_path(image, payload, length);
	case MANIFEST_DESCRIPTOR: return take_descriptor(image, payload, length);
	default: return take_checked(image, kind, payload, length);
	}
}

/* All regions, ascending; there are image->region_count. */
static const struct manifest_region **list_regions(const struct image *image)
{
	const struct manifest_region **regions =
		calloc(image->region_count + 1UL, sizeof(const struct manifest_region *));
	size_t cursor = 0;
	uint32_t length;
	if (regions == NULL)
		refuse("out of memory");
	for (uint32_t i = 0; i < image->region_count; i++)
		regions[i] = image_next(image, &cursor, MANIFEST_REGION, &length);
	return regions;
}

static bool region_contains(const struct manifest_region *const *regions, uint32_t count, uint64_t address,
			    uint32_t prot)
{
	uint32_t low = 0, high = count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (regions[middle]->end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < count && address >= regions[low]->start && (regions[low]->prot & prot) == prot;
}

static bool threads_are_sane(const struct image *image, const struct manifest_region *const *regions)
{
	size_t cursor = 0;
	uint32_t length;
	bool main_thread = true;
	const struct manifest_thread *thread;
	while ((thread = image_next(image, &cursor, MANIFEST_THREAD, &length)) != NULL) {
		if (!thread->exited &&
		    !region_contains(regions, image->region_count, thread->context, PROT_READ | PROT_WRITE))
			return false;
		if (main_thread && thread->tid != image->process->pid)
			return false;
		main_thread = false;
	}
	return image->thread_count > 0 && image->thread_count == image->process->thread_count;
}

/* What the restorer will jump to and load from must lie in the image. */
static bool addresses_are_sane(const struct image *image)
{
	const struct manifest_region **regions = list_regions(image);
	bool sane =
		region_contains(regions, image->region_count, image->process->resume_entry, PROT_EXEC) &&
		region_contains(regions, image->region_count, image->process->root_address, PROT_READ | PROT_WRITE) &&
		threads_are_sane(image, regions);
	free(regions);
	return sane;
}

void image_check(struct image *image, const char *directory)
{
	struct manifest_reader reader = {image->manifest, image->manifest_length, 0};
	uint64_t previous_end = 0;
	uint32_t kind, length;
	const void *payload;
	int result;
	while ((result = rt_manifest_next(&reader, &kind, &payload, &length)) == 1)
		if (!take_record(image, kind, payload, length, &previous_end))
			refuse("%s: damaged: a record of kind %u in the manifest makes no sense", directory, kind);
	if (result < 0 || image->process == NULL || image->cwd == NULL || image->executable == NULL ||
	    image->auxv == NULL || image->processor == NULL || !addresses_are_sane(image))
		refuse("%s: damaged: the manifest is incomplete", directory);
}

static void refuse_ended(const char *directory, int wait_status)
{
	if (WIFEXITED(wait_status))
		refuse("%s: the program ended by itself with status %d: nothing to restore", directory,
		       WEXITSTATUS(wait_status));
	refuse("%s: the program ended by itself: nothing to restore", directory);
}

void image_open(struct image *image, const char *directory, int lowest_fd)
{
	memset(image, 0, sizeof(*image));
	image->highest_descriptor = 2;
	int result = rt_store_open(directory, false, lowest_fd, &image->store, NULL);
	if (result < 0)
		refuse("%s: %s", directory, rt_store_problem());
	rt_store_status(image->store, &image->status);
	/* Root would run whatever its owner has put there. */
	if (image->status.user != geteuid())
		refuse("%s: belongs to user %u: restore it as that user", directory, image->status.user);
	if (image->status.state == STORE_ENDED)
		refuse_ended(directory, image->status.exit_status);
	if (image->status.epoch == 0)
		refuse("%s: no checkpoint has been committed yet: nothing to restore", directory);
	image->manifest = rt_store_manifest(image->store, &image->manifest_length);
	if (image->manifest == NULL)
		refuse("%s: damaged: no manifest", directory);
	image_check(image, directory);
}
