/*-------------------------------------------------------------------------
 *
 * memory.c
 *	  Memory for libcurl in a courier.
 *
 * A transfer takes and gives back dozens of pieces, one of them of 16 kB, which
 * malloc cuts out of its free space and joins with it again each time.  Here
 * pieces that come back are kept by their size, up to MEM_KEEP bytes of each.
 *
 * libcurl's resolver threads take and free pieces, too.  Only the thread that
 * has set this up keeps any; the others use malloc, and a piece may be freed by
 * another thread than the one that took it, as all have the same form.
 *
 * Sessions are left alone: other extensions may use libcurl there, and free
 * with free() what it gave them.
 *
 *-------------------------------------------------------------------------
 */
#include "http/transfer.h"

#include "miscadmin.h"
#include "port/pg_bitutils.h"

#define MEM_CLASSES		11		/* 64, 96, 160, 288 ... 32,800 bytes */
#define MEM_KEEP		(1024 * 1024)

/* What stands before a piece; as long as the alignment of malloc. */
typedef struct MemHead
{
	size_t		size;			/* of the piece behind it */
	size_t		class;			/* MEM_CLASSES: larger than those */
} MemHead;

/* A piece that is kept. */
typedef struct MemKept
{
	MemHead		head;
	struct MemKept *next;
} MemKept;

static __thread bool mem_keeps = false;
static MemKept *mem_kept[MEM_CLASSES];
static size_t mem_bytes[MEM_CLASSES];

/* mem_class says of which size a piece is. */
static inline size_t
mem_class(size_t size)
{
	if (size <= 64)
		return 0;
	if (size > ((size_t) 32 << (MEM_CLASSES - 1)) + 32)
		return MEM_CLASSES;
	return pg_leftmost_one_pos32((uint32) ((size - 33) >> 5)) + 1;
}

/* mem_malloc takes a piece; NULL where memory is short. */
static void *
mem_malloc(size_t size)
{
	size_t		class = mem_class(size);
	MemHead    *head;

	if (class < MEM_CLASSES)
	{
		MemKept    *kept = mem_keeps ? mem_kept[class] : NULL;

		size = ((size_t) 32 << class) + 32;
		if (kept != NULL)
		{
			mem_kept[class] = kept->next;
			mem_bytes[class] -= size;
			return &kept->head + 1;
		}
	}
	if (size > SIZE_MAX - sizeof(MemHead))
		return NULL;
	head = malloc(sizeof(MemHead) + size);
	if (head == NULL)
		return NULL;
	head->size = size;
	head->class = class;
	return head + 1;
}

/* mem_free gives a piece back. */
static void
mem_free(void *piece)
{
	MemHead    *head = piece;

	if (piece == NULL)
		return;
	head--;
	if (mem_keeps && head->class < MEM_CLASSES &&
		mem_bytes[head->class] + head->size <= MEM_KEEP)
	{
		MemKept    *kept = (MemKept *) head;

		kept->next = mem_kept[head->class];
		mem_kept[head->class] = kept;
		mem_bytes[head->class] += head->size;
		return;
	}
	free(head);
}

/* mem_realloc makes a piece larger or smaller; NULL: it stays as it is. */
static void *
mem_realloc(void *piece, size_t size)
{
	MemHead    *head = piece;
	void	   *moved;

	if (piece == NULL)
		return mem_malloc(size);
	head--;
	if (size <= head->size)
		return piece;
	moved = mem_malloc(size);
	if (moved == NULL)
		return NULL;
	memcpy(moved, piece, head->size);
	mem_free(piece);
	return moved;
}

/* mem_calloc takes a piece of zeros. */
static void *
mem_calloc(size_t n, size_t size)
{
	void	   *piece;

	if (size > 0 && n > SIZE_MAX / size)
		return NULL;
	piece = mem_malloc(n * size);
	if (piece != NULL)
		memset(piece, 0, n * size);
	return piece;
}

/* mem_strdup copies a text. */
static char *
mem_strdup(const char *text)
{
	size_t		size = strlen(text) + 1;
	char	   *copy = mem_malloc(size);

	return copy != NULL ? memcpy(copy, text, size) : NULL;
}

/*
 * concord_curl_init starts libcurl, with memory of ours in a background worker;
 * false where it cannot.  Where something else in the process has started it
 * before, that one's memory stays.
 */
bool
concord_curl_init(void)
{
	StaticAssertStmt(sizeof(MemHead) % MAXIMUM_ALIGNOF == 0, "pieces are aligned");
	if (MyBackendType != B_BG_WORKER)
		return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
	mem_keeps = true;
	return curl_global_init_mem(CURL_GLOBAL_DEFAULT, mem_malloc, mem_free,
								mem_realloc, mem_strdup, mem_calloc) == CURLE_OK;
}
