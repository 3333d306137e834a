package image

import (
	"container/list"
	"sync"
)

// lru remembers values up to a total weight and forgets the least recently used
// first. It is safe for concurrent use.
type lru[K comparable, V any] struct {
	mu     sync.Mutex
	limit  int64
	weight int64
	order  *list.List
	items  map[K]*list.Element
}

type lruItem[K comparable, V any] struct {
	key    K
	value  V
	weight int64
}

func newLRU[K comparable, V any](limit int64) *lru[K, V] {
	return &lru[K, V]{limit: limit, order: list.New(), items: make(map[K]*list.Element)}
}

func (l *lru[K, V]) get(key K) (value V, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.items[key]
	if !ok {
		return value, false
	}
	l.order.MoveToFront(e)
	return e.Value.(*lruItem[K, V]).value, true
}

// put replaces an earlier value of key. The newest value always stays, however
// heavy it is.
func (l *lru[K, V]) put(key K, value V, weight int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.items[key]; ok {
		l.drop(e)
	}
	l.items[key] = l.order.PushFront(&lruItem[K, V]{key, value, weight})
	l.weight += weight
	for l.weight > l.limit && l.order.Len() > 1 {
		l.drop(l.order.Back())
	}
}

func (l *lru[K, V]) drop(e *list.Element) {
	item := l.order.Remove(e).(*lruItem[K, V])
	delete(l.items, item.key)
	l.weight -= item.weight
}
