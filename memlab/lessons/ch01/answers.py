"""Chapter 01: one good answer to each exercise.  Shown to learners who ask for it, and tested."""


def page_of(address):
    return (address - 0xFFFF888000000000) // 4096


def list_order():
    return [1, 37, 35, 3]


def walk(read, head):
    found = []
    node = read(head)
    while node != head:
        found.append(node)
        node = read(node)
    return found


def broken_at(read, head):
    node = head
    while True:
        after = read(node)
        if read(after + 8) != node:
            return node
        node = after
        if node == head:
            return None
