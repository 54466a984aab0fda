/* Joining multicast groups again, on the interfaces of the same names, and groups of netlink. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

#include "restore/descriptors/private.h"

struct joining {
	const struct restoration *restoration;
	const struct entry *entry;
};

static struct sockaddr_storage address_of(uint32_t family, const uint8_t *bytes)
{
	struct sockaddr_storage address = {.ss_family = (sa_family_t)family};
	if (family == AF_INET)
		memcpy(&((struct sockaddr_in *)(void *)&address)->sin_addr, bytes, 4);
	else
		memcpy(&((struct sockaddr_in6 *)(void *)&address)->sin6_addr, bytes, 16);
	return address;
}

static bool join_source(int fd, int level, int option, const struct group_req *group, uint32_t family,
			const uint8_t *source)
{
	struct group_source_req request = {
		.gsr_interface = group->gr_interface,
		.gsr_group = group->gr_group,
		.gsr_source = address_of(family, source),
	};
	return setsockopt(fd, level, option, &request, sizeof(request)) == 0;
}

/* From all but some, or (each joins anew) from some only. */
static bool join(int fd, const struct descriptor_membership *membership, const uint8_t *sources, uint32_t interface)
{
	const struct group_req request = {.gr_interface = interface,
					  .gr_group = address_of(membership->family, membership->group)};
	int level = membership->family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
	bool all_but = membership->mode == MCAST_EXCLUDE;
	bool done = !all_but || setsockopt(fd, level, MCAST_JOIN_GROUP, &request, sizeof(request)) == 0;
	for (uint32_t i = 0; i < membership->source_count && done; i++)
		done = join_source(fd, level, all_but ? MCAST_BLOCK_SOURCE : MCAST_JOIN_SOURCE_GROUP, &request,
				   membership->family, sources + (size_t)i * RESTORE_SOURCE_BYTES);
	return done;
}

static void join_netlink_group(const struct joining *joining, int group)
{
	int fd = joining->entry->temporary;
	if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
		restore_warn(joining->restoration, "descriptor %d (socket) is no longer in the netlink group %d: %s",
			     joining->entry->record.number, group, strerror(errno));
}

static void join_netlink_groups(const struct joining *joining, const uint8_t *map, uint32_t bytes)
{
	for (uint32_t i = 0; i < bytes * 8; i++)
		if (map[i / 8] & 1 << i % 8)
			join_netlink_group(joining, (int)i + 1);
}

static void join_again(void *context, const struct descriptor_membership *membership, const uint8_t *sources)
{
	const struct joining *joining = context;
	char group[INET6_ADDRSTRLEN] = "?";
	uint32_t interface = membership->interface;
	if (membership->family == AF_NETLINK) {
		join_netlink_groups(joining, sources, membership->source_count * RESTORE_SOURCE_BYTES);
		return;
	}
	if (membership->interface_name[0] != '\0')
		interface = if_nametoindex(membership->interface_name);
	if (interface != 0 && join(joining->entry->temporary, membership, sources, interface))
		return;
	int error = errno;
	inet_ntop((int)membership->family, membership->group, group, sizeof(group));
	restore_warn(joining->restoration, "descriptor %d (socket) is no longer in the multicast group %s on %s: %s",
		     joining->entry->record.number, group,
		     membership->interface_name[0] ? membership->interface_name : "its interface", strerror(error));
}

void restore_join_groups(const struct restoration *restoration, const struct entry *entry)
{
	struct joining joining = {restoration, entry};
	restore_each_membership(entry, join_again, &joining);
}
