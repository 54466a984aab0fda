/* See file_bytes.h. */
#include "file_bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/report.h"
#include "restore/descriptors/replaced.h"

static void write_one(const struct manifest_file_bytes *record, const char *path, const uint8_t *bytes)
{
	struct stat status;
	int fd = open(path, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &status) < 0)
		refuse("%s, mapped by the program: %s", path, strerror(errno));
	if (!S_ISREG(status.st_mode) || !restore_is_same_inode(record->inode, status.st_ino))
		refuse("%s, mapped by the program, has been replaced since the checkpoint: put the old file back",
		       path);
	for (uint64_t done = 0; done < record->length;) {
		ssize_t part = pwrite(fd, bytes + done, record->length - done, (off_t)(record->offset + done));
		if (part <= 0)
			refuse("%s, mapped by the program, cannot be written: %s", path, strerror(errno));
		done += (uint64_t)part;
	}
	close(fd);
}

void write_file_bytes(const struct image *image)
{
	size_t cursor = 0;
	uint32_t length;
	const struct manifest_file_bytes *record;
	while ((record = image_next(image, &cursor, MANIFEST_FILE_BYTES, &length)) != NULL)
		write_one(record, (const char *)(record + 1), (const uint8_t *)(record + 1) + record->path_length);
}
