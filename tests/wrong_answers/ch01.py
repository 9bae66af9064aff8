"""Wrong answers that people give to the exercises of chapter 01: function, two underscores, number.  Used by test_chapters.py."""


def page_of__1(address):
    return address >> 12


def page_of__2(address):
    return (address - 0xFFFF888000000000) // 0x100


def page_of__3(address):
    return -(-(address - 0xFFFF888000000000) // 4096)


def list_order__1():
    return [1, 3, 35, 37]


def list_order__2():
    return [35, 1, 3]


def list_order__3():
    return [37, 35, 3, 1]


def walk__1(read, head):
    found, node = [head], read(head)
    while node != head:
        found.append(node)
        node = read(node)
    return found


def walk__2(read, head):
    found, node = [], read(head)
    while node:
        found.append(node)
        node = read(node)
    return found


def walk__3(read, head):
    return [read(head)]


def walk__4(read, head):
    found, node = [], read(head + 8)
    while node != head:
        found.append(node)
        node = read(node + 8)
    return found


def broken_at__1(read, head):
    return None


def broken_at__2(read, head):
    node = read(head)
    while read(node) != head:
        if read(read(node) + 8) != node:
            return node
        node = read(node)
    return None


def broken_at__3(read, head):
    return head
