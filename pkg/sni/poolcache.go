package sni

import "container/list"

// poolCache keeps the pools by their whole key, in order of use. The zero value is
// empty. It is not safe for concurrent use.
type poolCache struct {
	elements map[key]*list.Element // of *pool
	order    list.List             // most recently used first
}

func (c *poolCache) get(k key) *pool {
	e, ok := c.elements[k]
	if !ok {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*pool)
}

// add keeps p, unless another goroutine was faster: then it returns that one's. Where the
// cache holds more than limit after it, the least recently used is taken out and returned.
func (c *poolCache) add(p *pool, limit int) (kept, evicted *pool) {
	if other := c.get(p.key); other != nil {
		return other, nil
	}
	if c.elements == nil {
		c.elements = make(map[key]*list.Element)
	}
	c.elements[p.key] = c.order.PushFront(p)
	if c.order.Len() > limit {
		evicted = c.order.Remove(c.order.Back()).(*pool)
		delete(c.elements, evicted.key)
	}
	return p, evicted
}

func (c *poolCache) all() []*pool {
	pools := make([]*pool, 0, c.order.Len())
	for e := c.order.Front(); e != nil; e = e.Next() {
		pools = append(pools, e.Value.(*pool))
	}
	return pools
}
