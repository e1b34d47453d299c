/*-------------------------------------------------------------------------
 *
 * cache.c
 *	  Answers that may be used again, in shared memory of a fixed size.
 *
 * An answer is a chain of blocks of CACHE_BLOCK bytes: what the view shows of
 * its request, its headers, its body.  Entries are found by the digest that
 * they are kept under.  When blocks or entries are short, entries give way in
 * the order of a clock: one that was used since the hand passed it last is
 * spared once.  So a reader changes nothing but two atomics and needs the lock
 * in shared mode only.
 *
 * What may be used is decided in fetch.c; here nothing is fresh or stale.
 *
 *-------------------------------------------------------------------------
 */
#include "live/cache.h"

#include "base/compat.h"
#include "base/settings.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#define CACHE_TRANCHE	"pg_concord cache"
#define CACHE_BLOCK		1024
#define CACHE_NONE		(-1)
/* Blocks for each entry, on average. */
#define CACHE_PER_ENTRY	2
/* No answer takes more than this part of all blocks. */
#define CACHE_SHARE		8

typedef struct CacheBlock
{
	int32		next;
	char		bytes[CACHE_BLOCK - sizeof(int32)];
} CacheBlock;

typedef struct CacheEntry
{
	ConcordCacheKey key;
	Oid			dboid;			/* InvalidOid: free */
	ConcordCacheFacts facts;
	int			label_len;		/* with its NUL */
	int			headers_len;
	int			nheaders;
	int			body_len;
	int32		block;			/* the first */
	int32		next;			/* of the bucket, or of the free ones */
	pg_atomic_uint32 used;		/* since the hand passed */
	pg_atomic_uint64 hits;
} CacheEntry;

typedef struct CacheShmem
{
	LWLock	   *lock;
	int			nblocks;
	int			nentries;
	int			nbuckets;		/* a power of two */
	int32		free_block;
	int			nfree;			/* blocks */
	int32		free_entry;
	int32		hand;
} CacheShmem;

static CacheShmem *cache_shmem = NULL;
static int32 *cache_buckets;
static CacheEntry *cache_entries;
static CacheBlock *cache_blocks;

static shmem_request_hook_type cache_prev_request = NULL;
static shmem_startup_hook_type cache_prev_startup = NULL;

/* cache_count says how many blocks, entries and buckets there are. */
static void
cache_count(int *nblocks, int *nentries, int *nbuckets)
{
	Size		size = (Size) concord_cache_size * 1024;

	*nblocks = (int) (size / (CACHE_BLOCK + (sizeof(CacheEntry) +
											 sizeof(int32)) / CACHE_PER_ENTRY));
	*nentries = *nblocks / CACHE_PER_ENTRY;
	for (*nbuckets = 1; *nbuckets < *nentries;)
		*nbuckets *= 2;
}

/* cache_size says how much shared memory that takes. */
static Size
cache_size(void)
{
	int			nblocks;
	int			nentries;
	int			nbuckets;

	cache_count(&nblocks, &nentries, &nbuckets);
	return MAXALIGN(sizeof(CacheShmem)) +
		MAXALIGN(nbuckets * sizeof(int32)) +
		MAXALIGN(nentries * sizeof(CacheEntry)) +
		(Size) nblocks * sizeof(CacheBlock);
}

static void
cache_request(void)
{
	if (cache_prev_request)
		cache_prev_request();
	if (concord_cache_size == 0)
		return;
	RequestAddinShmemSpace(cache_size());
	RequestNamedLWLockTranche(CACHE_TRANCHE, 1);
}

/* cache_clear makes everything free. */
static void
cache_clear(void)
{
	for (int i = 0; i < cache_shmem->nbuckets; i++)
		cache_buckets[i] = CACHE_NONE;
	for (int i = 0; i < cache_shmem->nentries; i++)
	{
		cache_entries[i].dboid = InvalidOid;
		pg_atomic_init_u32(&cache_entries[i].used, 0);
		pg_atomic_init_u64(&cache_entries[i].hits, 0);
		cache_entries[i].next = i + 1 < cache_shmem->nentries ? i + 1 :
			CACHE_NONE;
	}
	for (int i = 0; i < cache_shmem->nblocks; i++)
		cache_blocks[i].next = i + 1 < cache_shmem->nblocks ? i + 1 :
			CACHE_NONE;
	cache_shmem->free_entry = cache_shmem->nentries > 0 ? 0 : CACHE_NONE;
	cache_shmem->free_block = cache_shmem->nblocks > 0 ? 0 : CACHE_NONE;
	cache_shmem->nfree = cache_shmem->nblocks;
	cache_shmem->hand = 0;
}

static void
cache_startup(void)
{
	bool		found;
	char	   *at;

	if (cache_prev_startup)
		cache_prev_startup();
	if (concord_cache_size == 0)
		return;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	at = ShmemInitStruct(CACHE_TRANCHE, cache_size(), &found);
	cache_shmem = (CacheShmem *) at;
	if (!found)
	{
		cache_shmem->lock = &(GetNamedLWLockTranche(CACHE_TRANCHE))->lock;
		cache_count(&cache_shmem->nblocks, &cache_shmem->nentries,
					&cache_shmem->nbuckets);
	}
	at += MAXALIGN(sizeof(CacheShmem));
	cache_buckets = (int32 *) at;
	at += MAXALIGN(cache_shmem->nbuckets * sizeof(int32));
	cache_entries = (CacheEntry *) at;
	at += MAXALIGN(cache_shmem->nentries * sizeof(CacheEntry));
	cache_blocks = (CacheBlock *) at;
	if (!found)
		cache_clear();
	LWLockRelease(AddinShmemInitLock);
}

/* concord_cache_request registers the hooks; called by _PG_init only. */
void
concord_cache_request(void)
{
	cache_prev_request = shmem_request_hook;
	shmem_request_hook = cache_request;
	cache_prev_startup = shmem_startup_hook;
	shmem_startup_hook = cache_startup;
}

/* concord_cache_on says whether answers are kept at all. */
bool
concord_cache_on(void)
{
	return cache_shmem != NULL && cache_shmem->nentries > 0;
}

/* cache_bucket is where a key's chain begins. */
static int32 *
cache_bucket(const ConcordCacheKey *key)
{
	uint32		hash;

	memcpy(&hash, key->digest, sizeof(hash));
	return &cache_buckets[hash & (cache_shmem->nbuckets - 1)];
}

/* cache_find returns the entry of a key or NULL; the caller holds the lock. */
static CacheEntry *
cache_find(const ConcordCacheKey *key)
{
	for (int32 i = *cache_bucket(key); i != CACHE_NONE; i = cache_entries[i].next)
	{
		if (memcmp(&cache_entries[i].key, key, sizeof(ConcordCacheKey)) == 0)
			return &cache_entries[i];
	}
	return NULL;
}

/* cache_length is how long an entry's bytes are. */
static Size
cache_length(const CacheEntry *entry)
{
	return (Size) entry->label_len + entry->headers_len + entry->body_len;
}

/* cache_copy copies len bytes of a chain, from offset skip on. */
static void
cache_copy(int32 block, Size skip, Size len, char *out)
{
	Size		part = sizeof(cache_blocks[0].bytes);

	while (skip >= part)
	{
		skip -= part;
		block = cache_blocks[block].next;
	}
	while (len > 0)
	{
		Size		n = Min(part - skip, len);

		memcpy(out, cache_blocks[block].bytes + skip, n);
		out += n;
		len -= n;
		skip = 0;
		block = cache_blocks[block].next;
	}
}

/* cache_remove frees an entry; the caller holds the lock exclusively. */
static void
cache_remove(CacheEntry *entry)
{
	int32		number = entry - cache_entries;
	int32	   *link = cache_bucket(&entry->key);
	int32		block = entry->block;

	while (*link != number)
		link = &cache_entries[*link].next;
	*link = entry->next;
	while (block != CACHE_NONE)
	{
		int32		next = cache_blocks[block].next;

		cache_blocks[block].next = cache_shmem->free_block;
		cache_shmem->free_block = block;
		cache_shmem->nfree++;
		block = next;
	}
	entry->dboid = InvalidOid;
	entry->next = cache_shmem->free_entry;
	cache_shmem->free_entry = number;
}

/* cache_make_room has entries give way until there is room for an answer. */
static void
cache_make_room(int nblocks)
{
	while (cache_shmem->nfree < nblocks ||
		   cache_shmem->free_entry == CACHE_NONE)
	{
		CacheEntry *entry = &cache_entries[cache_shmem->hand];

		cache_shmem->hand = (cache_shmem->hand + 1) % cache_shmem->nentries;
		if (!OidIsValid(entry->dboid))
			continue;
		if (pg_atomic_read_u32(&entry->used) != 0)
			pg_atomic_write_u32(&entry->used, 0);
		else
			cache_remove(entry);
	}
}

/* cache_write fills blocks, which are there, and returns the first of them. */
static int32
cache_write(const char *bytes, Size len)
{
	Size		part = sizeof(cache_blocks[0].bytes);
	int32		first = cache_shmem->free_block;
	int32		last = CACHE_NONE;

	do
	{
		int32		block = cache_shmem->free_block;
		Size		n = Min(part, len);

		memcpy(cache_blocks[block].bytes, bytes, n);
		bytes += n;
		len -= n;
		cache_shmem->free_block = cache_blocks[block].next;
		cache_shmem->nfree--;
		last = block;
	} while (len > 0);
	cache_blocks[last].next = CACHE_NONE;
	return first;
}

/* cache_kept says whether a header is kept with an answer. */
static bool
cache_kept(const ConcordHeader *header)
{
	return strcmp(header->name, "set-cookie") != 0 &&
		strcmp(header->name, "connection") != 0;
}

/* concord_cache_put keeps an answer. */
void
concord_cache_put(const ConcordCacheKey *key, const ConcordCacheFacts *facts,
				  const char *label, const ConcordResponse *response)
{
	StringInfoData buf;
	CacheEntry	shape = {0};
	CacheEntry *entry;
	int			nblocks;

	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, label, strlen(label) + 1);
	shape.label_len = buf.len;
	for (int i = 0; i < response->nheaders; i++)
	{
		const ConcordHeader *header = &response->headers[i];

		if (!cache_kept(header))
			continue;
		appendBinaryStringInfo(&buf, header->name, strlen(header->name) + 1);
		appendBinaryStringInfo(&buf, header->value, strlen(header->value) + 1);
		shape.nheaders++;
	}
	shape.headers_len = buf.len - shape.label_len;
	shape.body_len = (int) response->body_len;
	nblocks = (int) ((cache_length(&shape) + sizeof(cache_blocks[0].bytes) - 1) /
					 sizeof(cache_blocks[0].bytes));
	if (nblocks > cache_shmem->nblocks / CACHE_SHARE)
	{
		pfree(buf.data);
		concord_cache_drop(key);
		return;
	}
	appendBinaryStringInfo(&buf, response->body, (int) response->body_len);

	LWLockAcquire(cache_shmem->lock, LW_EXCLUSIVE);
	entry = cache_find(key);
	if (entry != NULL)
		cache_remove(entry);
	cache_make_room(nblocks);
	entry = &cache_entries[cache_shmem->free_entry];
	cache_shmem->free_entry = entry->next;
	entry->key = *key;
	entry->dboid = MyDatabaseId;
	entry->facts = *facts;
	entry->label_len = shape.label_len;
	entry->headers_len = shape.headers_len;
	entry->nheaders = shape.nheaders;
	entry->body_len = shape.body_len;
	entry->block = cache_write(buf.data, buf.len);
	pg_atomic_write_u32(&entry->used, 1);
	pg_atomic_write_u64(&entry->hits, 0);
	entry->next = *cache_bucket(key);
	*cache_bucket(key) = entry - cache_entries;
	LWLockRelease(cache_shmem->lock);
	pfree(buf.data);
}

/* cache_response takes the copied bytes apart. */
static void
cache_response(ConcordResponse *response, char *bytes, const CacheEntry *shape)
{
	char	   *p = bytes + shape->label_len;

	memset(response, 0, sizeof(ConcordResponse));
	response->transfer = CONCORD_TRANSFER_OK;
	response->status = shape->facts.status;
	response->nheaders = shape->nheaders;
	response->headers = palloc(sizeof(ConcordHeader) * (shape->nheaders + 1));
	for (int i = 0; i < shape->nheaders; i++)
	{
		response->headers[i].name = p;
		p += strlen(p) + 1;
		response->headers[i].value = p;
		p += strlen(p) + 1;
	}
	response->body = bytes + shape->label_len + shape->headers_len;
	response->body_len = shape->body_len;
	response->body[response->body_len] = '\0';
}

/* concord_cache_get copies an answer. */
bool
concord_cache_get(const ConcordCacheKey *key, ConcordCacheFacts *facts,
				  ConcordResponse *response)
{
	CacheEntry	shape;
	CacheEntry *entry;
	char	   *bytes = NULL;

	LWLockAcquire(cache_shmem->lock, LW_SHARED);
	entry = cache_find(key);
	if (entry != NULL)
	{
		memcpy(&shape, entry, sizeof(CacheEntry));
		/* an error lets go of the lock */
		bytes = palloc(cache_length(entry) + 1);
		cache_copy(entry->block, 0, cache_length(entry), bytes);
	}
	LWLockRelease(cache_shmem->lock);
	if (bytes == NULL)
		return false;
	*facts = shape.facts;
	cache_response(response, bytes, &shape);
	return true;
}

/* concord_cache_hit counts an answer as used. */
void
concord_cache_hit(const ConcordCacheKey *key)
{
	CacheEntry *entry;

	LWLockAcquire(cache_shmem->lock, LW_SHARED);
	entry = cache_find(key);
	if (entry != NULL)
	{
		pg_atomic_fetch_add_u64(&entry->hits, 1);
		pg_atomic_write_u32(&entry->used, 1);
	}
	LWLockRelease(cache_shmem->lock);
}

/* concord_cache_confirm notes that an answer still holds. */
void
concord_cache_confirm(const ConcordCacheKey *key, int64 asked, int64 expires)
{
	CacheEntry *entry;

	LWLockAcquire(cache_shmem->lock, LW_EXCLUSIVE);
	entry = cache_find(key);
	if (entry != NULL)
	{
		entry->facts.asked = asked;
		entry->facts.expires = expires;
	}
	LWLockRelease(cache_shmem->lock);
}

/* concord_cache_drop forgets one. */
void
concord_cache_drop(const ConcordCacheKey *key)
{
	CacheEntry *entry;

	LWLockAcquire(cache_shmem->lock, LW_EXCLUSIVE);
	entry = cache_find(key);
	if (entry != NULL)
		cache_remove(entry);
	LWLockRelease(cache_shmem->lock);
}

/* concord_cache_flush forgets those of a server. */
int64
concord_cache_flush(Oid serverid)
{
	int64		n = 0;

	LWLockAcquire(cache_shmem->lock, LW_EXCLUSIVE);
	for (int i = 0; i < cache_shmem->nentries; i++)
	{
		CacheEntry *entry = &cache_entries[i];

		if (entry->dboid != MyDatabaseId || entry->facts.serverid != serverid)
			continue;
		cache_remove(entry);
		n++;
	}
	LWLockRelease(cache_shmem->lock);
	return n;
}

/* concord_cache_rows copies what the view shows. */
int
concord_cache_rows(ConcordCacheRow **rows)
{
	int			n = 0;

	*rows = palloc_extended(sizeof(ConcordCacheRow) * (cache_shmem->nentries + 1),
							MCXT_ALLOC_HUGE);
	LWLockAcquire(cache_shmem->lock, LW_SHARED);
	for (int i = 0; i < cache_shmem->nentries; i++)
	{
		CacheEntry *entry = &cache_entries[i];
		ConcordCacheRow *row = &(*rows)[n];

		if (entry->dboid != MyDatabaseId)
			continue;
		row->facts = entry->facts;
		row->hits = pg_atomic_read_u64(&entry->hits);
		row->size = (int) cache_length(entry);
		row->label = palloc(entry->label_len);
		cache_copy(entry->block, 0, entry->label_len, row->label);
		n++;
	}
	LWLockRelease(cache_shmem->lock);
	return n;
}
