/*
 * Multicast groups. The kernel tells whether a socket is in a given group on a given interface, and from
 * whom it wants to hear there, but not which groups those are. So every group that any socket of the
 * process ever joined is noted, and each socket is asked about all of them. That needs no record of what
 * was left, closed, duplicated or sent away.
 *
 * The notes are in the image: a restored process knows them. A program that names no interface is given
 * one by the kernel; which, the socket is asked, interface after interface.
 *
 * Of netlink's groups the kernel does tell which a socket is in.
 */
#include <asm/ioctls.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

#include "descriptor/table.h"

#define NOTES 512              /* groups remembered */
#define PROBED_INTERFACES 1024 /* numbers tried when the interface has no IPv4 address to be found by */
#define LISTED_INTERFACES 64
#define FEW_SOURCES 16
#define NETLINK_BLOCKS 16 /* 128 groups each */

struct group {
	uint32_t family, interface;
	uint8_t address[16];
};

struct note {
	struct group group;
	char interface_name[IFNAMSIZ];
	uint32_t ready; /* written last */
};

/* In the image: written by program threads, and at a restore. */
static struct note notes[NOTES];
static uint32_t noted; /* slots given away; may be more than there are */
static bool missed;

bool rt_descriptor_memberships_missed(void)
{
	return __atomic_load_n(&missed, __ATOMIC_RELAXED);
}

static const struct note *note_at(uint32_t index)
{
	return index < NOTES && __atomic_load_n(&notes[index].ready, __ATOMIC_ACQUIRE) ? &notes[index] : NULL;
}

static uint32_t note_count(void)
{
	uint32_t count = __atomic_load_n(&noted, __ATOMIC_ACQUIRE);
	return count < NOTES ? count : NOTES;
}

/* ---- asking a socket ---- */

static int level_of(const struct group *group)
{
	return group->family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
}

static void set_address(struct sockaddr_storage *to, const struct group *group)
{
	memset(to, 0, sizeof(*to));
	to->ss_family = (sa_family_t)group->family;
	if (group->family == AF_INET)
		memcpy(&((struct sockaddr_in *)(void *)to)->sin_addr, group->address, 4);
	else
		memcpy(&((struct sockaddr_in6 *)(void *)to)->sin6_addr, group->address, 16);
}

static void get_address(const struct sockaddr_storage *from, uint8_t address[16])
{
	memset(address, 0, 16);
	if (from->ss_family == AF_INET)
		memcpy(address, &((const struct sockaddr_in *)(const void *)from)->sin_addr, 4);
	else
		memcpy(address, &((const struct sockaddr_in6 *)(const void *)from)->sin6_addr, 16);
}

/* Fills `filter`, which has room for `sources`; gf_numsrc is how many there are. -errno: not in the group. */
static int ask(int fd, const struct group *group, struct group_filter *filter, uint32_t sources)
{
	socklen_t length = GROUP_FILTER_SIZE(sources);
	memset(filter, 0, sizeof(*filter));
	filter->gf_interface = group->interface;
	filter->gf_numsrc = sources;
	set_address(&filter->gf_group, group);
	return rt_sys_getsockopt(fd, level_of(group), MCAST_MSFILTER, filter, &length);
}

static bool is_in(int fd, const struct group *group)
{
	struct group_filter filter;
	return ask(fd, group, &filter, 0) >= 0;
}

/* ---- noting ---- */

static bool is_noted(const struct group *group)
{
	for (uint32_t i = 0; i < note_count(); i++) {
		const struct note *note = note_at(i);
		if (note != NULL && memcmp(&note->group, group, sizeof(*group)) == 0)
			return true;
	}
	return false;
}

static void note_group(int fd, const struct group *group)
{
	struct ifreq request = {.ifr_ifindex = (int)group->interface};
	if (is_noted(group))
		return;
	if (rt_sys_ioctl(fd, SIOCGIFNAME, &request) < 0)
		request.ifr_name[0] = '\0';
	uint32_t index = __atomic_fetch_add(&noted, 1, __ATOMIC_ACQ_REL);
	if (index >= NOTES) {
		__atomic_store_n(&noted, NOTES, __ATOMIC_RELEASE);
		__atomic_store_n(&missed, true, __ATOMIC_RELAXED);
		return;
	}
	notes[index].group = *group;
	memcpy(notes[index].interface_name, request.ifr_name, IFNAMSIZ);
	__atomic_store_n(&notes[index].ready, 1, __ATOMIC_RELEASE);
}

/* Notes the group on this interface if the socket is in it there and it is news. */
static bool find_at(int fd, struct group *group, uint32_t interface, bool *found)
{
	group->interface = interface;
	if (!is_in(fd, group))
		return false;
	*found = true;
	if (is_noted(group))
		return false;
	note_group(fd, group);
	return true;
}

/* Which interface the kernel has chosen. */
static void find_interface(int fd, struct group *group)
{
	struct ifreq requests[LISTED_INTERFACES];
	struct ifconf list = {.ifc_len = sizeof(requests), .ifc_req = requests};
	bool found = false;
	if (rt_sys_ioctl(fd, SIOCGIFCONF, &list) < 0)
		list.ifc_len = 0;
	for (size_t i = 0; i < (size_t)list.ifc_len / sizeof(requests[0]); i++)
		if (rt_sys_ioctl(fd, SIOCGIFINDEX, &requests[i]) >= 0 &&
		    find_at(fd, group, (uint32_t)requests[i].ifr_ifindex, &found))
			return;
	for (uint32_t interface = 1; interface <= PROBED_INTERFACES; interface++)
		if (find_at(fd, group, interface, &found))
			return;
	if (!found)
		__atomic_store_n(&missed, true, __ATOMIC_RELAXED);
}

/* What a call of setsockopt() has joined. */
static struct group parse_request(int level, int option, const void *value, uint32_t length)
{
	struct group group = {.family = level == IPPROTO_IP ? AF_INET : AF_INET6};
	struct group_req request = {0};
	struct ip_mreqn mreqn = {0};
	struct ipv6_mreq mreq6 = {0};
	switch (option) {
	case MCAST_JOIN_GROUP:
	case MCAST_JOIN_SOURCE_GROUP: /* begins like the other */
		memcpy(&request, value, length < sizeof(request) ? length : sizeof(request));
		group.family = request.gr_group.ss_family;
		group.interface = request.gr_interface;
		get_address(&request.gr_group, group.address);
		break;
	case IP_ADD_MEMBERSHIP: /* struct ip_mreq ends before the interface */
		memcpy(&mreqn, value, length < sizeof(mreqn) ? length : sizeof(mreqn));
		group.interface = (uint32_t)mreqn.imr_ifindex;
		memcpy(group.address, &mreqn.imr_multiaddr, 4);
		break;
	case IP_ADD_SOURCE_MEMBERSHIP: memcpy(group.address, value, 4); break;
	default:
		memcpy(&mreq6, value, length < sizeof(mreq6) ? length : sizeof(mreq6));
		group.interface = mreq6.ipv6mr_interface;
		memcpy(group.address, &mreq6.ipv6mr_multiaddr, 16);
		break;
	}
	return group;
}

void rt_descriptors_note_membership(int fd, int level, int option, const void *value, uint32_t length)
{
	struct group group = parse_request(level, option, value, length);
	if (group.interface != 0 && is_in(fd, &group))
		note_group(fd, &group);
	else
		find_interface(fd, &group);
}

void rt_descriptor_memberships_relearn(void)
{
	if (note_count() == 0)
		return;
	int fd = rt_descriptor_open_socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	for (uint32_t i = 0; i < note_count() && fd >= 0; i++) {
		struct ifreq request;
		memcpy(request.ifr_name, notes[i].interface_name, IFNAMSIZ);
		if (rt_sys_ioctl(fd, SIOCGIFINDEX, &request) >= 0)
			notes[i].group.interface = (uint32_t)request.ifr_ifindex;
	}
	if (fd >= 0)
		rt_sys_close(fd);
}

/* ---- what is kept of a socket ---- */

static bool may_join(const struct descriptor *descriptor)
{
	return (descriptor->family == AF_INET || descriptor->family == AF_INET6) && descriptor->type == SOCK_DGRAM;
}

/* The kernel's answer in table->filter; false: not in the group, or no memory. */
static bool ask_all(struct descriptor_table *table, int fd, const struct group *group)
{
	uint32_t room = FEW_SOURCES;
	for (;;) {
		if (rt_descriptor_reserve(&table->filter, GROUP_FILTER_SIZE(room)) < 0)
			return false;
		struct group_filter *filter = (void *)table->filter.bytes;
		if (ask(fd, group, filter, room) < 0)
			return false;
		if (filter->gf_numsrc <= room)
			return true;
		room = filter->gf_numsrc;
	}
}

/* Appends to the table's memberships; false: no memory. */
static bool append(struct descriptor_table *table, const void *bytes, size_t length)
{
	struct descriptor_block *block = &table->memberships[table->membership_block];
	if (rt_descriptor_reserve(block, table->membership_used + length) < 0)
		return false;
	memcpy(block->bytes + table->membership_used, bytes, length);
	table->membership_used += length;
	return true;
}

static void append_membership(struct descriptor_table *table, const struct note *note)
{
	const struct group_filter *filter = (const void *)table->filter.bytes;
	struct descriptor_membership membership = {
		.family = note->group.family,
		.mode = filter->gf_fmode,
		.interface = note->group.interface,
		.source_count = filter->gf_numsrc,
	};
	size_t start = table->membership_used;
	uint8_t source[16];
	memcpy(membership.interface_name, note->interface_name, sizeof(membership.interface_name));
	memcpy(membership.group, note->group.address, sizeof(membership.group));
	bool done = append(table, &membership, sizeof(membership));
	for (uint32_t i = 0; i < filter->gf_numsrc && done; i++) {
		get_address(&filter->gf_slist[i], source);
		done = append(table, source, sizeof(source));
	}
	if (!done)
		table->membership_used = start;
}

/* As a membership whose sources are the groups, 128 in each. */
static void append_netlink_groups(struct descriptor_table *table, int fd)
{
	struct {
		struct descriptor_membership membership;
		uint32_t groups[NETLINK_BLOCKS * sizeof(struct in6_addr) / sizeof(uint32_t)];
	} record = {.membership = {.family = AF_NETLINK}};
	socklen_t length = sizeof(record.groups);
	if (rt_sys_getsockopt(fd, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, record.groups, &length) < 0)
		return;
	if (length > sizeof(record.groups)) {
		__atomic_store_n(&missed, true, __ATOMIC_RELAXED);
		length = sizeof(record.groups);
	}
	size_t words = length / sizeof(uint32_t);
	while (words > 0 && record.groups[words - 1] == 0)
		words--;
	if (words == 0)
		return;
	record.membership.source_count = (uint32_t)((words + 3) / 4);
	append(table, &record, sizeof(record.membership) + record.membership.source_count * sizeof(struct in6_addr));
}

const void *rt_descriptor_memberships(const struct descriptor_table *table, const struct socket_settings *settings)
{
	return table->memberships[table->membership_block].bytes + settings->memberships;
}

void rt_descriptor_read_memberships(struct descriptor_table *table, const struct descriptor *descriptor,
				    struct socket_settings *settings)
{
	size_t start = table->membership_used, before = settings->socket.membership_length;
	settings->socket.membership_length = 0;
	if (descriptor->family == AF_NETLINK)
		append_netlink_groups(table, descriptor->number);
	for (uint32_t i = 0; i < note_count() && may_join(descriptor); i++) {
		const struct note *note = note_at(i);
		if (note != NULL && (note->group.family == AF_INET || descriptor->family == AF_INET6) &&
		    ask_all(table, descriptor->number, &note->group))
			append_membership(table, note);
	}
	size_t length = table->membership_used - start;
	const char *bytes = table->memberships[table->membership_block].bytes;
	settings->socket.membership_length = (uint32_t)length;
	if (length > 0 && length == before && memcmp(bytes + start, bytes + settings->memberships, length) == 0)
		table->membership_used = start; /* as before */
	else
		settings->memberships = start;
}

int rt_descriptor_compact_memberships(struct descriptor_table *table)
{
	size_t used = 0;
	const char *old = table->memberships[table->membership_block].bytes;
	struct descriptor_block *block = &table->memberships[!table->membership_block];
	if (table->membership_used == 0)
		return 0;
	if (rt_descriptor_reserve(block, table->membership_used) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < table->count; i++) {
		struct socket_settings *settings = rt_descriptor_known_settings(table, &table->entries[i]);
		if (settings == NULL || settings->socket.membership_length == 0)
			continue;
		memcpy(block->bytes + used, old + settings->memberships, settings->socket.membership_length);
		settings->memberships = used;
		used += settings->socket.membership_length;
	}
	table->membership_block = !table->membership_block;
	table->membership_used = used;
	return 0;
}
